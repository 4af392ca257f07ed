"""What a process dies of: a part of it has ended by an error, so the whole stops and says why.

A worker with a dead service would look alive and lose nothing but time: better it restarts.
"""

import os
from collections.abc import Callable

from uow.errors import Exhausted, WorkerDied
from uow.process.signals import stop_process


class Death:
    """Of one process.

    Args:
        stop: Tells the process to stop, from any thread.

    Attributes:
        cause: None: it has not died.
    """

    def __init__(self, stop: Callable[[], object] = stop_process) -> None:
        self.cause: BaseException | None = None
        self._stop = stop
        self._process = os.getpid()

    def die(self, cause: BaseException) -> None:
        """Let the process stop because of `cause`; from any thread.

        Not a fork of it that has come back to the event loop: that has an end of its own, and in it
        every service fails.
        """
        if os.getpid() != self._process:
            return
        self.cause = cause
        self._stop()

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return 0 if self.cause is None else 1

    def tell(self) -> None:
        """Raise if it has died.

        Raises:
            Exhausted: It had been out of file descriptors or memory for too long.
            WorkerDied: A service has ended by an error of its own, or the worker without one.
        """
        if isinstance(self.cause, Exhausted | WorkerDied):
            raise self.cause
        if self.cause is not None:
            text = f"a service of the worker has ended: {self.cause!r}; see the log"
            raise WorkerDied(text) from self.cause
