"""Queues and task functions with what has ended in them minute by minute, and what stands out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from redis.asyncio import Redis

from uow.db import rates
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.fleet_around import FleetAround, read_fleet_around
from uow.db.load import read_load
from uow.db.rates import By, SummedRates
from uow.questions.loads import FoundLoads, Load, RatePoint, point_of
from uow.questions.number import Number
from uow.questions.numbers import with_jobs

MINUTES = 30
"""Of a small plot in a list."""

OVERDUE_SECONDS = 60.0
"""A tick is late by seconds where all is well."""


@dataclass(frozen=True, slots=True)
class ChartedLoads:
    """All queues, or all task functions.

    Attributes:
        minutes: How many attempts have ended in each of the last `MINUTES` minutes, the oldest
            first, by queue or name; who is not in it: none.
        around: What is paused, who lives.
    """

    loads: list[Load]
    minutes: Mapping[str, Sequence[int]]
    around: FleetAround


@dataclass(frozen=True, slots=True)
class OneLoad:
    """One queue, or one task function.

    Attributes:
        load: Of all of it.
        parts: By task function, or by queue.
        points: The latest minutes, those in which something has ended.
        errors: Of a task function: how many attempts have failed by which type within 24 hours.
        around: What is paused, who lives.
    """

    load: Load
    parts: list[Load]
    points: list[RatePoint]
    errors: list[tuple[str, Number]]
    around: FleetAround


async def charted(
    db: Database, dead_after: float, by: By, redis: Redis | None = None
) -> ChartedLoads:
    """Every queue, or task function, in which anything waits, runs or has ended lately; and every
    queue that is served.

    Args:
        redis: Where it is asked how many jobs a queue has.
    """
    async with bounded_reading(db) as reading:
        tasks = await read_load(reading, dead_after)
        ended = await rates.read_rates_and_minutes(reading, by, MINUTES, of_one=False)
        around = await read_fleet_around(reading, dead_after, OVERDUE_SECONDS)
    spans, points = _told_apart(ended, "point")
    kept = {one.target for one in around.pauses if one.kind == by}
    if by == "queue":
        kept |= around.served
    loads = FoundLoads(tasks, spans, by).loads(*kept, *(one.key for one in points))
    if redis is not None and by == "queue":
        loads = await with_jobs(loads, redis)
    return ChartedLoads(loads, _by_minute(points), around)


async def one_queue(
    db: Database, dead_after: float, queue: str, minutes: int, redis: Redis
) -> OneLoad:
    """One queue, with its task functions and its latest minutes."""
    found = await _one(db, dead_after, "name", queue, minutes, queue=queue)
    (load,) = await with_jobs([found.load], redis)
    return replace(found, load=load)


async def one_name(db: Database, dead_after: float, name: str, minutes: int) -> OneLoad:
    """One task function, with its queues and its latest minutes."""
    return await _one(db, dead_after, "queue", name, minutes, name=name)


async def _one(
    db: Database,
    dead_after: float,
    parts: By,
    called: str,
    minutes: int,
    *,
    queue: str | None = None,
    name: str | None = None,
) -> OneLoad:
    async with bounded_reading(db) as reading:
        tasks = await read_load(reading, dead_after)
        ended = await rates.read_rates_and_minutes(
            reading, parts, minutes, of_one=True, queue=queue, name=name
        )
        around = await read_fleet_around(reading, dead_after, OVERDUE_SECONDS)
    others, errors = _told_apart(ended, "error")
    spans, points = _told_apart(others, "point")
    whole: By = "queue" if parts == "name" else "name"
    all_of_it = [replace(one, key=called) for one in spans]
    of_all = FoundLoads(tasks, all_of_it, whole, queue=queue, name=name)
    return OneLoad(
        load=of_all.load_of(called),
        parts=FoundLoads(tasks, spans, parts, queue=queue, name=name).loads(),
        points=_points(points),
        errors=[(one.key, Number(one.n, "rollup")) for one in errors],
        around=around,
    )


def _told_apart(
    ended: Sequence[SummedRates], span: str
) -> tuple[list[SummedRates], list[SummedRates]]:
    """Those of other spans, and those of this one."""
    others = [one for one in ended if one.span != span]
    return others, [one for one in ended if one.span == span]


def _points(those: Sequence[SummedRates]) -> list[RatePoint]:
    by_minute: dict[datetime, list[SummedRates]] = {}
    for one in those:
        by_minute.setdefault(one.since, []).append(one)
    return [point_of(at, by_minute[at]) for at in sorted(by_minute)]


def _by_minute(those: Sequence[SummedRates]) -> dict[str, list[int]]:
    if not those:
        return {}
    latest = max(one.since for one in those)
    counts: dict[str, Counter[int]] = {}
    for one in those:
        back = round((latest - one.since).total_seconds() / 60)
        counts.setdefault(one.key, Counter())[back] += one.n
    return {
        key: [found[back] for back in reversed(range(MINUTES))] for key, found in counts.items()
    }
