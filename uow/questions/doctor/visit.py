"""What the checks look at, and with."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Flag, auto

from uow.broker.redis import RedisClient
from uow.db.bounded import ReadOnly
from uow.db.database import Database
from uow.db.fleet_facts import LiveProcess, live_processes
from uow.questions.doctor.finding import Finding
from uow.settings.environment import Settings

CHECK_SECONDS = 5.0
"""So long a check may take: what it has not seen by then is unknown."""


@dataclass(frozen=True, slots=True)
class CodeHere:
    """What the application's code has.

    Attributes:
        rowless: Names of task functions that live in Redis alone; None: the code is not here.
        migrations: Import path of its own migrations.
    """

    rowless: Sequence[str] | None = None
    migrations: str | None = None
    missing: str = "its modules were not loaded"


@dataclass(frozen=True, slots=True)
class Visit:
    """One examination.

    Attributes:
        db: Reads, and can do nothing else.
        database: For what needs an engine; for reading, too.
    """

    settings: Settings
    code: CodeHere
    database: Database
    db: ReadOnly
    redis: RedisClient

    async def processes(self) -> list[LiveProcess]:
        """The worker processes that live."""
        return await live_processes(self.db, self.settings.dead_after)


class Needs(Flag):
    """What has to answer before a check can look."""

    NOTHING = 0
    POSTGRES = auto()
    REDIS = auto()
    TABLES = auto()


Look = Callable[[Visit], Awaitable[list[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    """A check: what it looks with, and what it needs."""

    look: Look
    needs: Needs

    @property
    def name(self) -> str:
        """Its subject and what it looks at, as in ``redis.memory``."""
        return f"{self.look.__module__.rpartition('.')[2]}.{self.look.__name__}"


CHECKS: list[Check] = []
"""All checks of the subjects that were imported, in that order."""


def check(needs: Needs = Needs.NOTHING) -> Callable[[Look], Look]:
    """Register a check."""

    def register(look: Look) -> Look:
        CHECKS.append(Check(look, needs))
        return look

    return register
