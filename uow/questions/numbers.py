"""How much waits, runs and ends: by queue, by task function, in time."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from redis.asyncio import Redis

from uow.broker.redis import AWAY
from uow.db import load, rates
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.rates import By, Span
from uow.questions.loads import FoundLoads, Load, RatePoint, point_of
from uow.questions.number import Number

REDIS_SECONDS = 1.0
"""For the sizes of queues: without them the answer is still one."""

MOST_POINTS: dict[Span, int] = {"minute": 180, "hour": 168, "day": 30}
"""Of a plot, by what a point is."""

FEW_POINTS: dict[Span, int] = {"minute": 30, "hour": 24, "day": 7}
"""The same, if nobody says how many."""


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
    return loads if redis is None or name is not None else await with_jobs(loads, redis)


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
    return [point_of(at, [*those]) for at, those in by_time]


async def _loads(
    db: Database, dead_after: float, by: By, *, queue: str | None = None, name: str | None = None
) -> list[Load]:
    async with bounded_reading(db) as reading:
        tasks = await load.read_load(reading, dead_after)
        ended = await rates.read_rates(reading, by, queue=queue, name=name)
    return FoundLoads(tasks, ended, by, queue=queue, name=name).loads()


async def with_jobs(loads: Sequence[Load], redis: Redis) -> list[Load]:
    """The queues with how many jobs each has, if Redis says so in time."""
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
