"""What lives with the worker process and serves every attempt."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from arq.connections import ArqRedis

from worker.db.database import Database
from worker.execution.lease import Leases
from worker.execution.registry import Registry
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an attempt needs from its process; `ctx["runtime"]`."""

    db: Database
    redis: ArqRedis
    registry: Registry
    leases: Leases
    settings: Settings
    worker: str
    flush_pushes: Callable[[], Awaitable[None]]
