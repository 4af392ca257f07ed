"""Worker processes, as a user starts them."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from tests.forks import ForkedProcess, ForkServer
from uow import Settings

ROOT = Path(__file__).parent.parent

Process = ForkedProcess | subprocess.Popen[bytes]

fork_server = ForkServer(ROOT)


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


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    stdout: int,
    stderr: int,
    *,
    fresh: bool = False,
) -> Process:
    """Start `python -m uow`.

    Args:
        fresh: In an interpreter of its own, as a user does. The imports cost it two seconds.
    """
    if not fresh:
        return fork_server.start(arguments, environment, stdout, stderr)
    command = [sys.executable, "-m", "uow", *arguments]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=stdout, stderr=stderr)


def run_standing_in(
    directory: Path, arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `python -m uow` in a directory to its end, with exactly this environment."""
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = fork_server.start(
            arguments, environment, stdout.fileno(), stderr.fileno(), directory=directory
        )
        try:
            code = process.wait(60)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


async def run_command(
    settings: Settings, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m uow` to its end."""
    return await _run(arguments, environment_of(settings, **environment), fresh=False)


async def run_fresh_command(
    settings: Settings, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The same, `fresh` as in `start`."""
    return await _run(arguments, environment_of(settings, **environment), fresh=True)


async def _run(
    arguments: Sequence[str], environment: Mapping[str, str], *, fresh: bool
) -> subprocess.CompletedProcess[str]:
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = start(arguments, environment, stdout.fileno(), stderr.fileno(), fresh=fresh)
        try:
            code = await asyncio.to_thread(process.wait, 30)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


class LoggedProcess:
    """A process, with what it writes.

    Args:
        start: Starts it, with this descriptor as its output.
    """

    def __init__(self, start: Callable[[int], Process]) -> None:
        output, theirs = os.pipe()
        try:
            self.process = start(theirs)
        finally:
            os.close(theirs)
        self._output = os.fdopen(output, encoding="utf-8")
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
        self._output.close()

    def _read(self) -> None:
        for line in self._output:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


class WorkerProcess(LoggedProcess):
    """`worker run`, by default the stock worker; `fresh` as in `start`."""

    def __init__(
        self,
        settings: Settings,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        kind: Sequence[str] = ("--stock",),
        fresh: bool = False,
    ) -> None:
        command = ["run", *kind, *arguments]
        given = environment_of(settings, **environment)
        super().__init__(lambda output: start(command, given, output, output, fresh=fresh))


def run_logged(
    command: Sequence[str], environment: Mapping[str, str], *, cwd: Path = ROOT
) -> LoggedProcess:
    """Start any command."""
    return LoggedProcess(
        lambda output: subprocess.Popen(
            command, env=environment, cwd=cwd, stdout=output, stderr=subprocess.STDOUT
        )
    )


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
