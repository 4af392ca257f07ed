"""What lives with the worker process and serves every attempt."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from arq.connections import ArqRedis

from uow.attempt.running import Leases
from uow.attempt.solo import Solo
from uow.db.database import Database
from uow.settings.environment import Settings
from uow.tasks.registry import Registry


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an attempt needs from its process.

    Attributes:
        worker: The process's name in the fleet.
        flush_pushes: Returns when what was enqueued here is pushed.
        suspend: Claim nothing until Postgres answers.
    """

    db: Database
    redis: ArqRedis
    registry: Registry
    leases: Leases
    settings: Settings
    worker: str
    flush_pushes: Callable[[], Awaitable[None]]
    suspend: Callable[[], None]
    solo: Solo = field(default_factory=Solo)


class Host(Protocol):
    """The process in which attempts run."""

    @property
    def runtime(self) -> Runtime:
        """Of the life that it leads now."""
