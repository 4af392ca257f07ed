"""What attempts have failed by: by type, task function or hour, from the rollup."""

import re
from dataclasses import dataclass
from datetime import datetime

from uow.db import rates
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.rates import ErrorsBy
from uow.errors import InvalidOptions
from uow.questions.number import Number

MOST_FAILURES = 500
"""Lines of an answer."""

MOST_HOURS = 90 * 24
"""So long they are kept."""

_HOURS = {"m": 1 / 60, "min": 1 / 60, "h": 1, "d": 24, "w": 7 * 24}


@dataclass(frozen=True, slots=True)
class FailureCount:
    """Failures that have one type, are of one task function, or of one hour.

    Attributes:
        key: The type, the name, or the beginning of the hour.
        failed: How many attempts have failed so: also those that were tried again, and those that
            have cancelled their task.
        types: How many types of errors they have.
        names: Of how many task functions they are.
        since: The first hour (of UTC) in which there was one.
        latest: The last one.
    """

    key: str | datetime
    failed: Number
    types: int
    names: int
    since: datetime
    latest: datetime


async def failures(
    db: Database,
    by: ErrorsBy = "error",
    *,
    hours: int = 24,
    error: str | None = None,
    name: str | None = None,
) -> list[FailureCount]:
    """The failures of the last hours, the most frequent first; by hour the latest first.

    Args:
        hours: How many (of UTC), the present one included.
        error: Of this type alone.
        name: Of this task function alone.
    """
    async with bounded_reading(db) as reading:
        found = await rates.read_errors_by(
            reading, by, min(hours, MOST_HOURS), error=error, name=name, limit=MOST_FAILURES
        )
    return [
        FailureCount(one.key, Number(one.n, "rollup"), one.types, one.names, one.since, one.latest)
        for one in found
    ]


def hours_of(since: str) -> int:
    """How many hours reach so far back: ``12h``, ``90m``, ``3d``, ``2w``.

    The rollup tells hours apart, so the first of them counts as a whole.

    Raises:
        InvalidOptions: It is no such time, or longer ago than errors are counted.
    """
    read = re.fullmatch(r"(\d{1,6})\s*(m|min|h|d|w)", since.strip())
    if read is None:
        raise InvalidOptions(f"since={since[:40]} is no time ago: write it as 90m, 12h or 3d")
    hours = int(read[1]) * _HOURS[read[2]]
    if hours > MOST_HOURS:
        raise InvalidOptions(f"since={since[:40]}: errors are counted for 90 days")
    return int(hours) + 1
