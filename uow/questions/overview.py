"""The whole at one look: what waits, runs, ends and fails, and what wants attention first."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from redis.asyncio import Redis

from uow.broker.redis import AWAY
from uow.db import rates
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.fleet_around import FleetAround, read_fleet_around
from uow.db.load import TaskLoad, read_load
from uow.db.rates import SummedPoint
from uow.questions.attention import Attention, what_wants_attention
from uow.questions.charts import OVERDUE_SECONDS
from uow.questions.loads import FoundLoads, Load, RatePoint, point_of
from uow.questions.number import Number

AN_HOUR = 60
"""Minutes that are always looked at. With hundreds of queues and task functions each costs a
millisecond, so more of them are for who asks."""

REDIS_SECONDS = 1.0
"""For its answer: without it the rest is shown."""

BEHIND = timedelta(seconds=30)
"""A minute is added up so long after its end."""


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it.

    Attributes:
        attention: What is broken first, then what may be.
        queues: Each that has a task or a worker, by name.
        waiting: Due, in all queues.
        oldest_seconds: For which one of those has waited; None: none waits.
        later: Not due yet.
        running: As processes said in their last heartbeats.
        slots: Of all live workers; None: one does not say.
        busy: Those that are taken; None: one does not say.
        workers: Those that live.
        per_minute: Attempts that ended in the last complete minute.
        failed: Attempts that failed in the last 60 minutes, and were not to be tried again.
        ended: All that ended in these minutes.
        points: The minutes in which something ended, the oldest first, without how long it ran.
        redis_trouble: Why Redis does not answer; None: it does.
    """

    attention: list[Attention]
    queues: list[Load]
    waiting: Number
    oldest_seconds: Number | None
    later: Number
    running: Number
    slots: int | None
    busy: int | None
    workers: int
    per_minute: Number
    failed: Number
    ended: Number
    points: list[RatePoint]
    redis_trouble: str | None


async def overview(
    db: Database, dead_after: float, redis: Redis, minutes: int = AN_HOUR
) -> Overview:
    """Look once: three statements about our tables, and a PING.

    Args:
        dead_after: Seconds without a heartbeat after which a process counts as dead.
        minutes: How many are looked at, if that is more than an hour.
    """
    trouble = await _trouble_of(redis)
    async with bounded_reading(db) as reading:
        tasks = await read_load(reading, dead_after)
        ended = await rates.read_waits(reading, max(minutes, AN_HOUR))
        around = await read_fleet_around(reading, dead_after, OVERDUE_SECONDS)
    points = _points(ended)
    attention = what_wants_attention(tasks.waiting, around, points, redis_trouble=trouble)
    return _overview(attention, tasks, around, points, trouble)


def _overview(
    attention: list[Attention],
    tasks: TaskLoad,
    around: FleetAround,
    points: list[RatePoint],
    trouble: str | None,
) -> Overview:
    queues = FoundLoads(tasks, (), "queue").loads(*around.served)
    living = [one for one in around.processes if one.lives]
    slots, busy = ([getattr(one, what) for one in living] for what in ("slots", "busy"))
    hour = _since(points, timedelta(hours=1))
    return Overview(
        attention=attention,
        queues=queues,
        waiting=_sum([one.waiting for one in queues]),
        oldest_seconds=_longest([one.oldest_seconds for one in queues]),
        later=_sum([one.later for one in queues]),
        running=_sum([one.running for one in queues]),
        slots=None if None in slots else sum(slots),
        busy=None if None in busy else sum(busy),
        workers=len(living),
        per_minute=_per_minute(points),
        failed=Number(hour["failed"], "rollup"),
        ended=Number(hour.total(), "rollup"),
        points=points,
        redis_trouble=trouble,
    )


async def _trouble_of(redis: Redis) -> str | None:
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            await redis.ping()
    except AWAY as error:
        return type(error).__name__
    return None


def _points(minutes: Sequence[SummedPoint]) -> list[RatePoint]:
    by_time = groupby(sorted(minutes, key=lambda one: one.at), key=lambda one: one.at)
    return [point_of(at, [*those]) for at, those in by_time]


def _sum(numbers: Sequence[Number]) -> Number:
    """All of one source, as they are of one look."""
    source = numbers[0].source if numbers else "exact"
    return Number(sum(one.value for one in numbers), source)


def _longest(numbers: Sequence[Number | None]) -> Number | None:
    known = [one for one in numbers if one is not None]
    return max(known, key=lambda one: one.value, default=None)


def _since(points: Sequence[RatePoint], span: timedelta) -> Counter[str]:
    """What has ended so lately, by outcome."""
    found = Counter[str]()
    since = datetime.now(UTC) - span
    for one in points:
        if one.at > since:
            found.update(one.ended)
    return found


def _per_minute(points: Sequence[RatePoint]) -> Number:
    """Of the last minute that is added up."""
    complete = (datetime.now(UTC) - BEHIND).replace(second=0, microsecond=0) - timedelta(minutes=1)
    ended = next((one.ended for one in points if one.at == complete), {})
    return Number(sum(ended.values()), "rollup")
