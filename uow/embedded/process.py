"""A server as our child: it dies when we die, and is signalled by its pid alone."""

import functools
import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from uow.embedded.home import Home
from uow.errors import EmbeddedServerError
from uow.process.orphans import Watcher, tie_to_us, watch

SECONDS_PER_SIGNAL = 5.0
"""How long a server may take to obey one signal before it gets the next, sterner one."""

INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Environment variables that a server is started with."""


class ServerProcess:
    """A server process and, where the kernel does not do it, what kills it after our death.

    Args:
        command: Program and arguments.
        home: Where it runs, and by whom.
        output: Descriptor of its log.
        death_signal: What it is sent when we die.

    Raises:
        EmbeddedServerError: The program cannot be executed.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        home: Home,
        output: int,
        death_signal: signal.Signals,
    ) -> None:
        fork = functools.partial(_fork, command, home, output, death_signal)
        try:
            self._process = _forking_thread(os.getpid()).submit(fork).result()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise EmbeddedServerError(f"{command[0]} could not be started: {error}") from error
        self._watcher: Watcher | None = None
        with ExitStack() as undo:
            undo.callback(self.kill9)
            self._watcher = watch(self.pid, death_signal)
            undo.pop_all()

    @property
    def pid(self) -> int:
        """The process id, valid while the child is running."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def succeeds_within(self, seconds: float) -> bool:
        """Wait for the end of a program that ends by itself: whether it did, and well."""
        try:
            return self._process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill9()

    def pause(self) -> None:
        """SIGSTOP to the server first, so that it forks no more, then to its children."""
        self._signal(signal.SIGSTOP, [self.pid])
        self._signal(signal.SIGSTOP, self._children())

    def resume(self) -> None:
        """SIGCONT to the server and its children."""
        self._signal(signal.SIGCONT, [*self._children(), self.pid])

    def kill9(self) -> None:
        """SIGKILL to the server and its children, as a power cut would do."""
        self._dismiss_watcher()
        self.pause()
        self._signal(signal.SIGKILL, [self.pid, *self._children()])
        try:
            self._process.wait(SECONDS_PER_SIGNAL)
        except subprocess.TimeoutExpired:
            raise EmbeddedServerError(f"process {self.pid} does not end by SIGKILL") from None

    def stop(self, signals: Sequence[signal.Signals]) -> None:
        """End it by the first of `signals` that it obeys, at last by SIGKILL."""
        self._dismiss_watcher()
        self.resume()  # who is paused hears no signal
        for number in signals:
            self._process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(SECONDS_PER_SIGNAL)
                return
        self.kill9()

    def _signal(self, number: signal.Signals, pids: list[int]) -> None:
        if self.is_running:  # else its pid may be somebody else's by now
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _children(self) -> list[int]:
        """Postgres' backends, which a SIGKILL of the server leaves behind; only Linux tells."""
        with suppress(OSError):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [int(pid) for pid in children.split()]
        return []

    def _dismiss_watcher(self) -> None:
        # Before the server is reaped: afterwards the watcher would know a pid that is free.
        if self._watcher is not None:
            self._watcher.dismiss()
            self._watcher = None


@functools.cache
def _forking_thread(process: int) -> ThreadPoolExecutor:
    """The one thread that forks servers; `process` is ours, for a fork of us has no such thread.

    The kernel takes the end of the *thread* that forked for the parent's death. So a server must
    not be forked by whoever calls `start`, which may be a thread of `asyncio.to_thread` that
    ends with its event loop. This one lives until the interpreter shuts down.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"embedded-servers-{process}")


def _fork(
    command: Sequence[str], home: Home, output: int, death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # `binaries.py` chose the program
        command,
        cwd=home.path,
        env=server_environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C is for us; the server is stopped when we have finished
        user=home.account.uid,
        group=home.account.gid,
        extra_groups=home.account.groups,
        # Runs after the change of user, which would undo it.
        preexec_fn=tie_to_us(death_signal),
    )


def server_environment() -> dict[str, str]:
    """What a program needs to run: not PGPORT, nor this machine's language and clock.

    And not our secrets, for a server that `nobody` runs can be looked into by all that it runs.
    """
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}
