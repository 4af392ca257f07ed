"""Worker processes, as a user starts them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker import Settings

ROOT = Path(__file__).parent.parent


def environment_of(settings: Settings, **more: str) -> dict[str, str]:
    """The environment variables that say what `settings` say."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORKER_")}
    ours = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        secret = getattr(value, "get_secret_value", None)
        ours[f"WORKER_{name.upper()}"] = secret() if secret else _as_text(value)
    path = os.pathsep.join([str(ROOT), inherited.get("PYTHONPATH", "")])
    return {**inherited, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **ours, **more}


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(getattr(v, "get_secret_value", lambda v=v: v)() for v in value)
    return str(value)


class WorkerProcess:
    """`worker run`, by default the stock worker, with its log."""

    def __init__(
        self,
        settings: Settings,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        kind: Sequence[str] = ("--stock",),
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run", *kind, *arguments],
            env=environment_of(settings, **environment),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def wait_for_log(self, part: str, timeout: float = 20.0) -> str:
        """Wait until a line with `part` is logged, and return it."""

        def found() -> str | None:
            return next((line for line in self.lines if part in line), None)

        deadline = time.monotonic() + timeout
        with self._news:
            while (line := found()) is None:
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise AssertionError(f"{part!r} was not logged:\n{self.log}")
                self._news.wait(min(left, 0.5))
        return line

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for the end of the process; returns its exit code."""
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def terminate(self, timeout: float = 20.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill9(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


def descendants(pid: int) -> list[int]:
    """The children of a process and theirs; only Linux tells."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def is_running(pid: int) -> bool:
    """Whether it is there and no mere entry of one that has ended; only Linux tells."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
