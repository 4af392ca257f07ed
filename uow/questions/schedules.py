"""Schedules: what they say, how far they are, what has become of their latest ticks."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db import histories
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.histories import LatestTick
from uow.schedules.by_hand import Schedules, ScheduleView

MOST_SCHEDULES = 1_000
"""Of an answer."""

LATEST = 20
"""Ticks of each."""


@dataclass(frozen=True, slots=True)
class ShownTick:
    """A tick.

    Attributes:
        until: Of ticks that were missed: the last one.
        fate: ``fired``; ``asked`` (by hand); ``waiting`` or ``overlapped`` (a task of the schedule
            was unsettled); or ``missed``.
        state: Of its task, as long as that is kept.
    """

    tick: datetime
    until: datetime | None
    fate: str
    task_id: UUID | None
    state: str | None


@dataclass(frozen=True, slots=True)
class ShownSchedule:
    """A schedule. Moments are in UTC.

    Attributes:
        task: The name of its task function.
        expression: As in ``@cron``.
        when: The same in words.
        state: ``active``, ``paused``, or ``removed`` from the code.
        next_ticks: The next five, if nobody changes anything.
        waiting: Ticks that wait until the task before them is settled.
        ticks: The latest, the last one first.
    """

    app: str
    name: str
    task: str
    queue: str
    expression: str
    timezone: str
    when: str
    state: str
    next_ticks: list[datetime]
    last_tick: datetime | None
    last_task_id: UUID | None
    last_outcome: str | None
    missed: tuple[datetime, datetime] | None
    waiting: int
    ticks: list[ShownTick]


async def shown_schedules(db: Database, app: str, *, every_app: bool = True) -> list[ShownSchedule]:
    """Schedules by app and name; `MOST_SCHEDULES` at most.

    Args:
        app: Those of this service.
        every_app: Those of all services whose tables these are.
    """
    found = (await Schedules(db, app).all(every_app=every_app))[:MOST_SCHEDULES]
    async with bounded_reading(db) as reading:
        ticks = await histories.read_latest_ticks(
            reading, [(one.app, one.name) for one in found], LATEST
        )
    by_schedule: dict[tuple[str, str], list[LatestTick]] = {}
    for tick in ticks:
        by_schedule.setdefault((tick.app, tick.name), []).append(tick)
    return [_shown(one, by_schedule.get((one.app, one.name), [])) for one in found]


def _shown(one: ScheduleView, ticks: list[LatestTick]) -> ShownSchedule:
    definition = one.definition
    return ShownSchedule(
        app=one.app,
        name=one.name,
        task=definition.task,
        queue=definition.queue,
        expression=definition.expression,
        timezone=definition.timezone,
        when=definition.timetable.explain(),
        state=one.state,
        next_ticks=one.coming(),
        last_tick=one.last_tick,
        last_task_id=one.last_task_id,
        last_outcome=one.last_outcome,
        missed=one.missed,
        waiting=one.waiting,
        ticks=[ShownTick(t.tick, t.until, t.fate, t.task_id, t.state) for t in ticks],
    )
