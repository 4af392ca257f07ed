"""What this process counts and shows: one for all workers in it."""

import contextlib
from collections.abc import Iterator

from uow.attempt.notes import Notes
from uow.errors import WorkerError
from uow.events.processes import ServerAway, ServerBack, TickMissed
from uow.events.spine import Spine
from uow.metrics.tallies import AttemptTally, Missed, ServersUp, TaskTally
from uow.metrics.workers import ObservedWorker


class Metrics:
    """The tallies, and the workers that are read.

    Attributes:
        workers: Those that run now.
    """

    def __init__(self) -> None:
        self.missed, self.servers = Missed(), ServersUp()
        self.workers: list[ObservedWorker] = []
        self._attempts = AttemptTally()
        self._notes: list[Notes] = []

    @contextlib.contextmanager
    def listening(self, events: Spine, notes: Notes) -> Iterator[None]:
        """While the block runs, count what happens in a worker.

        Args:
            notes: Of its attempts.
        """
        notes.listen(self._attempts.count)
        events.listen(self.missed.hear, TickMissed)
        events.listen(self.servers.hear, ServerAway, ServerBack)
        self._notes.append(notes)
        try:
            yield
        finally:
            notes.count()
            self._notes.remove(notes)

    def attempts(self) -> list[tuple[tuple[str, str], TaskTally]]:
        """The tallies of all that have ended, by task and queue. From any thread."""
        for notes in [*self._notes]:
            notes.count()
        return self._attempts.all()


class _Here:
    """Of this process; None: nobody has asked for any."""

    metrics: Metrics | None = None
    unobserved = 0


def of_this_process() -> Metrics:
    """Those of this process, which are counted from now on.

    Raises:
        WorkerError: A worker runs already of which nothing was counted.
    """
    if _Here.metrics is None:
        if _Here.unobserved:
            raise WorkerError(
                "uow.metrics_app() is called while a worker runs in this process, of which nothing "
                "was counted until now: call it before, for example where your app is made"
            )
        _Here.metrics = Metrics()
    return _Here.metrics


def wanted() -> Metrics | None:
    """Those of this process, if anybody has asked for them."""
    return _Here.metrics


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """A worker runs while the block does, and nothing is counted."""
    _Here.unobserved += 1
    try:
        yield
    finally:
        _Here.unobserved -= 1
