"""What this process counts and shows: one for all workers in it."""

import contextlib
from collections.abc import Callable, Iterator

from uow.attempt.telling import EndedAttempt
from uow.errors import WorkerError
from uow.events.processes import ServerAway, ServerBack, TickMissed
from uow.events.spine import Spine
from uow.metrics.tallies import AttemptTally, Missed, ServersUp
from uow.metrics.workers import ObservedWorker


class Metrics:
    """The tallies, and the workers that are read.

    Attributes:
        workers: Those that run now.
    """

    def __init__(self) -> None:
        self.attempts, self.missed, self.servers = AttemptTally(), Missed(), ServersUp()
        self.workers: list[ObservedWorker] = []

    def listen(self, events: Spine, is_known: Callable[[str], bool]) -> None:
        """Count what happens in a worker.

        Args:
            is_known: Says whether it has a task function of that name.
        """
        events.listen_to_batches(self.attempts.listener(is_known), EndedAttempt)
        events.listen(self.missed.hear, TickMissed)
        events.listen(self.servers.hear, ServerAway, ServerBack)


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
