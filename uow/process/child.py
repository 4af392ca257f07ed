"""One process under the supervisor: started, told to stop, killed if it does not."""

import asyncio
import logging
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from uow.process.orphans import tie_to_us, watch
from uow.process.supervised import child_environment

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process has ended.

    Attributes:
        code: Its exit code, or minus the number of the signal that has ended it.
        lived: For how many seconds it has run.
        told: Whether we had told it to stop.
    """

    code: int
    lived: float
    told: bool

    @property
    def exit_code(self) -> int:
        """What it adds to our exit code; one that we stopped before it listened has ended well."""
        if self.told and self.code == -signal.SIGTERM:
            return 0
        return 1 if self.code < 0 else self.code

    def __str__(self) -> str:
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        return f"was ended by {_signal_name(-self.code)}"


class Child:
    """A process that runs; to be created, signalled and reaped in the event loop's thread.

    It inherits our environment and our standard streams, and has a process group of its own: Ctrl-C
    reaches everybody in the terminal's group, and a worker takes a second signal as "at once".

    Args:
        command: Program and arguments.

    Raises:
        OSError: The program cannot be executed, or there are too many processes.
        subprocess.SubprocessError: Something between fork and exec has failed.

    Attributes:
        ended: Has a result when the process is gone and has been reaped.
        told: Whether it was told to stop.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self.told = False
        self._started = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        self._process = subprocess.Popen(  # noqa: S603 - we ourselves, or what a test wants
            command,
            process_group=0,
            env=child_environment(),
            preexec_fn=tie_to_us(signal.SIGTERM),
        )
        with ExitStack() as undo:
            undo.callback(self._process.kill)
            self._watcher = watch(self.pid, signal.SIGTERM)
            undo.pop_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def age(self) -> float:
        """For how many seconds it has run."""
        return time.monotonic() - self._started

    def reap(self) -> None:
        """Look whether it has ended; called when any child has."""
        code = self._process.poll()
        if code is None or self.ended.done():
            return
        if self._watcher is not None:  # late by a moment, in which only our own death would matter
            self._watcher.dismiss()
        if self._deadline is not None:
            self._deadline.cancel()
        self.ended.set_result(Ended(code, time.monotonic() - self._started, self.told))

    def stop(self, patience: float | None) -> None:
        """SIGTERM, and SIGKILL if it is still there `patience` seconds after the first one.

        Without a `patience` it has all the time that it takes.
        """
        if self.ended.done():
            return
        self._process.send_signal(signal.SIGTERM)
        self._process.send_signal(signal.SIGCONT)  # who is frozen hears nothing
        self.told = True
        if self._deadline is None and patience is not None:
            self._deadline = self._loop.call_later(patience, self._overdue, patience)

    def kill9(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def _overdue(self, patience: float) -> None:
        logger.warning("pid %d still runs %g s after SIGTERM: SIGKILL", self.pid, patience)
        self.kill9()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
