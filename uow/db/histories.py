"""The latest ticks of schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.statement import INTEGER, TEXTS, Statements, template

_LATEST_TICKS = template(
    "latest_ticks",
    # LATERAL with a LIMIT, so that each schedule's ticks and their tasks are found by their keys.
    """
    SELECT asked.app, asked.name, tick.tick, tick.until, tick.fate, tick.task_id, task.state
    FROM unnest(:apps, :names) AS asked (app, name)
         CROSS JOIN LATERAL (
             SELECT tick, until, fate, task_id FROM {schedule_tick} AS one
             WHERE one.app = asked.app AND one.name = asked.name
             ORDER BY app DESC, name DESC, tick DESC LIMIT :limit) AS tick
         LEFT JOIN LATERAL (
             SELECT state FROM {task} AS one WHERE one.id = tick.task_id LIMIT 1) AS task ON true
    """,
    apps=TEXTS,
    names=TEXTS,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class LatestTick:
    """A tick of a schedule, as `uow.db.schedules.TickView` says it."""

    app: str
    name: str
    tick: datetime
    until: datetime | None
    fate: str
    task_id: UUID | None
    state: str | None


async def read_latest_ticks(
    db: Statements, schedules: Sequence[tuple[str, str]], limit: int
) -> list[LatestTick]:
    """The latest ticks of these, by app and name, the latest first.

    Args:
        limit: How many of each.
    """
    statement = _LATEST_TICKS(
        apps=[app for app, _ in schedules], names=[name for _, name in schedules], limit=limit
    )
    found = [LatestTick(*record) for record in await db.execute_once(statement)]
    return sorted(found, key=lambda one: one.tick, reverse=True)
