"""A user's numbers, from the newest tasks: there are too many users for a rollup of each."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from uow.db import user_tasks
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.rates import Span
from uow.db.user_tasks import NEWEST, TasksOfUser
from uow.questions.number import Number, Percentiles, Rates, Source

_SETTLED = ("succeeded", "failed", "cancelled")
_AHEAD_SECONDS = 3_600
_SPANS: dict[Span, tuple[timedelta, Callable[[TasksOfUser], int]]] = {
    "minute": (timedelta(minutes=1), lambda one: one.in_minute),
    "hour": (timedelta(hours=1), lambda one: one.in_hour),
    "day": (timedelta(days=1), lambda one: one.in_day),
}


@dataclass(frozen=True, slots=True)
class UserNumbers:
    """What the newest tasks of a user say; all of them, unless a number is ``capped``.

    Attributes:
        looked_at: How many tasks that are.
        waiting: Due, and not running.
        later: Not due yet.
        states: How many have which state.
        names: How many are of which task function.
        backlog: How many of those are not settled.
        rates: What was settled within the last minute, hour and day. How long tasks waited and ran
            is that of all that have succeeded, in their last attempts.
    """

    user_id: str
    looked_at: Number
    waiting: Number
    oldest_seconds: Number | None
    later: Number
    running: Number
    states: dict[str, Number]
    names: dict[str, Number]
    backlog: dict[str, Number]
    rates: dict[Span, Rates]


async def user_numbers(db: Database, user_id: str, limit: int = NEWEST) -> UserNumbers:
    """The numbers of one user; all zero, if there is no task of the user's.

    Args:
        limit: How many of the newest tasks are looked at.
    """
    async with bounded_reading(db) as reading:
        found = await user_tasks.read_tasks_of_user(reading, user_id, _newest(), limit)
    source: Source = "capped" if sum(one.tasks for one in found) >= limit else "exact"
    return _numbers(user_id, found, source)


def _newest() -> UUID:
    """The last id that can have been made within the hour to come."""
    return UUID(int=int((time.time() + _AHEAD_SECONDS) * 1000) << 80)


def _numbers(user_id: str, found: Sequence[TasksOfUser], source: Source) -> UserNumbers:
    waiting = [one for one in found if one.state not in (*_SETTLED, "running")]
    oldest = [one.oldest for one in waiting if one.oldest is not None]

    def number(those: Iterable[int]) -> Number:
        return Number(sum(those), source)

    return UserNumbers(
        user_id=user_id,
        looked_at=number(one.tasks for one in found),
        waiting=number(one.tasks - one.later for one in waiting),
        oldest_seconds=Number(round(max(oldest), 3), source) if oldest else None,
        later=number(one.later for one in waiting),
        running=number(one.tasks for one in found if one.state == "running"),
        states=_counted(found, lambda one: one.state, source),
        names=_counted(found, lambda one: one.name, source),
        backlog=_counted(
            [one for one in found if one.state not in _SETTLED], lambda one: one.name, source
        ),
        rates=_rates(found, source),
    )


def _counted(
    found: Sequence[TasksOfUser], key: Callable[[TasksOfUser], str], source: Source
) -> dict[str, Number]:
    counts = Counter[str]()
    for one in found:
        counts[key(one)] += one.tasks
    return {name: Number(n, source) for name, n in counts.most_common()}


def _rates(found: Sequence[TasksOfUser], source: Source) -> dict[Span, Rates]:
    now = datetime.now(UTC)
    waited = Percentiles.of_values(_known(one.waited for one in found), source)
    ran = Percentiles.of_values(_known(one.ran for one in found), source)
    rates: dict[Span, Rates] = {}
    for span, (length, count) in _SPANS.items():
        ended = Counter[str]()
        for one in found:
            ended[one.state] += count(one)
        if ended.total():
            each = ended.total() / length.total_seconds()
            rates[span] = Rates(span, now - length, now, dict(+ended), each, waited, ran, source)
    return rates


def _known(columns: Iterable[Sequence[float | None] | None]) -> list[float]:
    return [max(one, 0.0) for column in columns for one in column or () if one is not None]
