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


class LoggedProcess:
    """A process, with what it writes."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, cwd: Path = ROOT
    ) -> None:
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
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
        return self.wait_for_logs(part, 1, timeout)[0]

    def wait_for_logs(self, part: str, count: int, timeout: float = 20.0) -> list[str]:
        """Wait until `count` lines with `part` are logged, and return all that are."""
        deadline = time.monotonic() + timeout
        with self._news:
            while len(found := [line for line in self.lines if part in line]) < count:
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise AssertionError(f"{part!r} was not logged {count} times:\n{self.log}")
                self._news.wait(min(left, 0.5))
        return found

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for the end of the process; returns its exit code."""
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def wait_for_silence(self, timeout: float = 20.0) -> None:
        """Wait until nobody can write any more: it and all that inherited its output have ended."""
        self._reader.join(timeout)
        assert not self._reader.is_alive(), f"somebody is still there:\n{self.log}"

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


class WorkerProcess(LoggedProcess):
    """`worker run`, by default the stock worker."""

    def __init__(
        self,
        settings: Settings,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        kind: Sequence[str] = ("--stock",),
    ) -> None:
        super().__init__(
            [sys.executable, "-m", "worker", "run", *kind, *arguments],
            environment_of(settings, **environment),
        )
