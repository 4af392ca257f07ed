"""What is read of a worker when somebody asks for its metrics; from another thread."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from uow.attempt.in_thread import InThreads
from uow.attempt.running import Running
from uow.db.profile import Signs
from uow.events.processes import LoopBlocked
from uow.metrics.backlog import Waiting
from uow.process.heart import Heart

SHOWN_SECONDS = 60.0
"""A block of the event loop is shown for so long: it seldom falls on the moment of a question."""


@dataclass(frozen=True, slots=True)
class ObservedWorker:
    """A worker that runs in this process.

    Attributes:
        queues: What it serves.
        slots: How many tasks it runs at once.
        busy: How many of them it runs.
        lag: Seconds for which its event loop does not turn, or has not lately.
        connections: Those of its pool: how many are busy, how many idle, and how many more there
            may be.
        waiting: What it has seen of the fleet, if it leads.
    """

    queues: Sequence[str]
    slots: int
    busy: Callable[[], int]
    lag: Callable[[], float]
    connections: Callable[[], tuple[int, int, int]]
    waiting: Callable[[], Waiting | None]


def busy_slots(running: Running, threads: InThreads) -> int:
    """How many held jobs run, and threads whose attempts have ended without them.

    The slot of a job that is only to be finished is free.
    """
    run = sum(1 for one in running.all() if one.runs is not None and not one.runs.done())
    return run + threads.outliving


def connections_of(engine: AsyncEngine) -> tuple[int, int, int]:
    """How many connections of a pool are busy and idle, and how many more there may be."""
    pool = engine.pool
    if not isinstance(pool, QueuePool):  # an application may have said another one
        return 0, 0, 0
    busy, idle = pool.checkedout(), pool.checkedin()
    return busy, idle, max(pool.size() - busy - idle, 0)


def signs_of(worker: ObservedWorker) -> Signs:
    """What a worker says of itself with a heartbeat."""
    busy, idle, room = worker.connections()
    return Signs(
        busy=worker.busy(),
        lag=round(worker.lag(), 3),
        pool_busy=busy,
        pool_idle=idle,
        pool_room=room,
    )


class Lag:
    """How long an event loop does not turn: now, or the worst of the last minute.

    Args:
        heart: Watches it.
    """

    def __init__(self, heart: Heart) -> None:
        self._heart = heart
        self._worst, self._ended = 0.0, float("-inf")

    def hear(self, blocked: LoopBlocked) -> None:
        """It turns again."""
        if blocked.seconds >= self._lately():
            self._worst, self._ended = blocked.seconds, time.monotonic()

    def __call__(self) -> float:
        """Seconds."""
        return max(self._heart.lag, self._lately(), 0.0)

    def _lately(self) -> float:
        return self._worst if time.monotonic() - self._ended < SHOWN_SECONDS else 0.0
