"""What lives with the worker process and serves every attempt."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from arq.connections import ArqRedis

from uow.attempt.callbacks import Callbacks
from uow.attempt.calling import Calling
from uow.attempt.pauses import Pauses
from uow.attempt.running import Leases
from uow.attempt.solo import Solo
from uow.db.begun_attempt import AttemptDatabase
from uow.events.spine import Spine
from uow.settings.environment import Settings
from uow.tasks.registry import Registry


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an attempt needs from its process.

    Attributes:
        worker: The process's name in the fleet.
        flush_pushes: Returns when what was enqueued here is pushed.
        suspend: Claim nothing until Postgres answers.
        events: Whom to tell what happens.
        callbacks: What waits for commits.
        calling: Calls the task functions.
        pauses: What is paused.
        rng: Spreads retries and returns; guards nothing.
    """

    db: AttemptDatabase
    redis: ArqRedis
    registry: Registry
    leases: Leases
    settings: Settings
    worker: str
    flush_pushes: Callable[[], Awaitable[None]]
    suspend: Callable[[], None]
    events: Spine = field(default_factory=Spine)
    callbacks: Callbacks = field(default_factory=Callbacks)
    solo: Solo = field(default_factory=Solo)
    calling: Calling = field(default_factory=Calling)
    pauses: Pauses = field(default_factory=Pauses)
    rng: random.Random = field(default_factory=random.Random)

    def spread(self, low: float, high: float) -> float:
        """Seconds between these two, so that what failed together does not return together."""
        return self.rng.uniform(low, high)


class Host(Protocol):
    """The process that runs jobs, as the functions know it that arq calls."""

    @property
    def runtime(self) -> Runtime:
        """What its attempts need; there from its startup hook on."""
