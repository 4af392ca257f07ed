"""Pushes jobs to Redis after the commit of their rows, from a thread of its own.

As in the async client (`uow.tasks.pusher`) a push is an optimisation, which the caller never waits
for: what is not pushed is found by the relay. The thread begins with the first job, anew in a
process that was forked.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from uow.broker.redis import AWAY
from uow.broker.refusals import EntriesRefused
from uow.broker.scripts import Job
from uow.tasks.pusher import BUFFER_LIMIT, GATHER_SECONDS
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

STOP_SECONDS = 2.0
"""How long the end of a process waits for a Redis that is slow."""


class ThreadedPusher:
    """Collects announced jobs, of any thread, and pushes them in batches.

    Args:
        push: Pushes; raises what Redis says.
        look_at: Is told, after the pushes, which queues they went to; never raises.
    """

    def __init__(
        self, push: Callable[[Iterable[Job]], object], look_at: Callable[[Collection[str]], None]
    ) -> None:
        self._push = push
        self._look_at = look_at
        self.begin_anew()

    def begin_anew(self) -> None:
        """With nothing to push: what is there in a forked process is its parent's."""
        self._buffer: deque[Job] = deque()
        self._pushing = threading.Lock()
        self._starting = threading.Lock()
        self._announced = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._away = False

    def announce(self, jobs: Sequence[Job]) -> None:
        """Push `jobs` soon; their rows are committed."""
        if len(self._buffer) >= BUFFER_LIMIT or self._stopping.is_set():
            return
        self._buffer.extend(jobs)
        self._announced.set()
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Return when everything announced so far was pushed or left to the relay."""
        queues: set[str] = set()
        with self._pushing:
            batch = [self._buffer.popleft() for _ in range(len(self._buffer))]
            if batch and self._pushed(batch):
                queues = {job.queue for job in batch}
        if queues:
            self._look_at(queues)

    def stop(self) -> None:
        """Push what is left, for `STOP_SECONDS` at most, and end."""
        self._stopping.set()
        self._announced.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_SECONDS)

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._turn, name="uow.sync.pusher", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # this process may have no more: the relay pushes
                self._buffer.clear()
            else:
                self._thread = thread

    def _turn(self) -> None:
        while True:
            self._announced.wait()
            self._announced.clear()
            self.flush()
            if self._stopping.wait(GATHER_SECONDS):
                self.flush()  # what came between
                return

    def _pushed(self, batch: list[Job]) -> bool:
        try:
            self._push(batch)
        except EntriesRefused as error:
            logger.warning("Redis refuses jobs for good: %s", error)
        except AWAY as error:
            if not self._away:  # once per outage, however many are enqueued meanwhile
                logger.warning("Redis takes no jobs (%s); the relay will push", one_line(error))
            self._away = True
            return False
        except Exception:
            logger.exception("jobs could not be pushed; the relay will push")
            return False
        self._away = False
        return True
