"""How much waits, runs and ends: by queue, by task function, in time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Literal, TypeVar

from redis.asyncio import Redis

from uow.broker.redis import AWAY
from uow.db import load, rates
from uow.db.backlog import LOOKED_AT
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.load import MOST_RUNNING, RunningTasks, WaitingTasks
from uow.db.rates import By, Span, SummedPoint, SummedRates
from uow.questions.number import Number, Percentiles, Rates, Source, added

T = TypeVar("T")

REDIS_SECONDS = 1.0
"""For the sizes of queues: without them the answer is still one."""

MOST_POINTS: dict[Span, int] = {"minute": 180, "hour": 168, "day": 30}
"""Of a plot, by what a point is."""

FEW_POINTS: dict[Span, int] = {"minute": 30, "hour": 24, "day": 7}
"""The same, if nobody says how many."""


@dataclass(frozen=True, slots=True)
class Load:
    """What waits, runs and ends in a queue, or of a task function.

    Attributes:
        name: The queue's, or the task function's.
        waiting: Due, and not running.
        oldest_seconds: For which one of them has waited; None: none waits.
        later: Not due yet.
        running: As processes said in their last heartbeats; rowless ones are not among them.
        longest_seconds: For which one of them has run; None: none runs.
        in_redis: Jobs of the queue; None: of a name, or Redis does not say.
        rates: Of the last minute, hour and day in which anything has ended.
    """

    name: str
    waiting: Number
    oldest_seconds: Number | None
    later: Number
    running: Number
    longest_seconds: Number | None
    in_redis: Number | None
    rates: dict[Span, Rates]


@dataclass(frozen=True, slots=True)
class RatePoint:
    """What has ended in a minute, an hour or a day (of UTC).

    Attributes:
        at: Its beginning.
        ended: Attempts by outcome.
    """

    at: datetime
    ended: dict[str, int]
    waited: Percentiles
    ran: Percentiles
    source: Literal["rollup"] = "rollup"


async def queue_loads(
    db: Database, dead_after: float, redis: Redis | None = None, *, name: str | None = None
) -> list[Load]:
    """Every queue in which anything waits, runs or has ended lately, by name.

    Args:
        dead_after: Seconds after which a silent process counts as dead.
        redis: Where it is asked how many jobs a queue has.
        name: Of this task function alone.
    """
    loads = await _loads(db, dead_after, "queue", name=name)
    return loads if redis is None or name is not None else await _with_jobs(loads, redis)


async def name_loads(db: Database, dead_after: float, *, queue: str | None = None) -> list[Load]:
    """The same by task function.

    Args:
        queue: In this one alone.
    """
    return await _loads(db, dead_after, "name", queue=queue)


async def points(
    db: Database,
    span: Span,
    last: int | None = None,
    *,
    queue: str | None = None,
    name: str | None = None,
) -> list[RatePoint]:
    """What has ended minute by minute, hour by hour or day by day, the oldest first.

    A time in which nothing ended has no point. The present one is not complete.

    Args:
        last: How many, the present one included; at most `MOST_POINTS`. None: `FEW_POINTS`.
    """
    async with bounded_reading(db) as reading:
        found = await rates.read_points(
            reading, span, min(last or FEW_POINTS[span], MOST_POINTS[span]), queue=queue, name=name
        )
    by_time = groupby(sorted(found, key=lambda one: one.at), key=lambda one: one.at)
    return [_point(at, [*those]) for at, those in by_time]


async def _loads(
    db: Database, dead_after: float, by: By, *, queue: str | None = None, name: str | None = None
) -> list[Load]:
    async with bounded_reading(db) as reading:
        waiting = await load.read_waiting(reading)
        running = await load.read_running(reading, dead_after)
        ended = await rates.read_rates(reading, by, queue=queue, name=name)
    found = _Found(_mark_of_waiting(waiting), _mark_of_running(running))

    def fits(one: WaitingTasks | RunningTasks) -> bool:
        return queue in (None, one.queue) and name in (None, one.name)

    def key(one: WaitingTasks | RunningTasks) -> str:
        return one.queue if by == "queue" else one.name

    found.waiting = _grouped(filter(fits, waiting), key)
    found.running = _grouped(filter(fits, running), key)
    found.ended = _grouped(ended, lambda one: one.key)
    return [found.load_of(one) for one in sorted({*found.waiting, *found.running, *found.ended})]


class _Found:
    """What was found, by queue or by name.

    Args:
        of_waiting: How far what waits was looked at.
        of_running: How far what runs was.
    """

    def __init__(self, of_waiting: Source, of_running: Source) -> None:
        self._of_waiting, self._of_running = of_waiting, of_running
        self.waiting: dict[str, list[WaitingTasks]] = {}
        self.running: dict[str, list[RunningTasks]] = {}
        self.ended: dict[str, list[SummedRates]] = {}

    def load_of(self, key: str) -> Load:
        """That of one queue or name."""
        waiting, running = self.waiting.get(key, ()), self.running.get(key, ())
        return Load(
            name=key,
            waiting=Number(sum(one.due for one in waiting), self._of_waiting),
            oldest_seconds=_longest((one.oldest for one in waiting), self._of_waiting),
            later=Number(sum(one.later for one in waiting), self._of_waiting),
            running=Number(sum(one.running for one in running), self._of_running),
            longest_seconds=_longest((one.longest for one in running), self._of_running),
            in_redis=None,
            rates=_rates(self.ended.get(key, ())),
        )


def _grouped(those: Iterable[T], key: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for one in those:
        found.setdefault(key(one), []).append(one)
    return found


def _mark_of_waiting(found: Sequence[WaitingTasks]) -> Source:
    """Exact, if neither half has more than was looked at."""
    halves = [sum(one.looked_at for one in found if one.pushed is half) for half in (False, True)]
    return "capped" if max(halves) >= LOOKED_AT else "exact"


def _mark_of_running(found: Sequence[RunningTasks]) -> Source:
    return "capped" if sum(one.running for one in found) >= MOST_RUNNING else "exact"


def _longest(seconds: Iterable[float | None], source: Source) -> Number | None:
    known = [one for one in seconds if one is not None]
    return Number(round(max(known), 3), source) if known else None


def _rates(ended: Sequence[SummedRates]) -> dict[Span, Rates]:
    by_span = _grouped(ended, lambda one: one.span)
    taking: dict[Span, Sequence[SummedRates]] = {
        "minute": by_span.get("minute", ()),
        "hour": by_span.get("recent", ()),
        "day": by_span.get("day", ()),
    }
    return {
        span: _rates_of(span, by_span[span], taking[span]) for span in taking if span in by_span
    }


def _rates_of(span: Span, those: Sequence[SummedRates], taking: Sequence[SummedRates]) -> Rates:
    """Of one span; `taking` says how long it took."""
    since, until = those[0].since, those[0].until
    ended = Counter[str]()
    for one in those:
        ended[one.outcome] += one.n
    return Rates(
        span=span,
        since=since,
        until=until,
        ended=dict(ended),
        per_second=ended.total() / (until - since).total_seconds(),
        waited=Percentiles.of_buckets(added(one.waited or () for one in taking)),
        ran=Percentiles.of_buckets(added(one.ran or () for one in taking)),
        source="rollup",
    )


def _point(at: datetime, those: Sequence[SummedPoint]) -> RatePoint:
    return RatePoint(
        at=at,
        ended={one.outcome: one.n for one in those},
        waited=Percentiles.of_buckets(added(one.waited for one in those)),
        ran=Percentiles.of_buckets(added(one.ran for one in those)),
    )


async def _with_jobs(loads: Sequence[Load], redis: Redis) -> list[Load]:
    """With how many jobs each queue has, if Redis says so in time."""
    try:
        async with asyncio.timeout(REDIS_SECONDS), redis.pipeline(transaction=False) as pipeline:
            for one in loads:
                pipeline.zcard(one.name)
            counts: list[object] = await pipeline.execute(raise_on_error=False)
    except AWAY:
        return [*loads]
    return [
        replace(one, in_redis=Number(count, "exact") if isinstance(count, int) else None)
        for one, count in zip(loads, counts, strict=True)
    ]
