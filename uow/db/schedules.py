"""The statements by which people see schedules, pause them, and run them by hand."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.statement import INTEGER, MOMENT, TEXT, Statements, template

_READ_SCHEDULES = template(
    "read_schedules",
    """
    SELECT schedule.app, schedule.name, CAST(definition AS text) AS definition,
           next_tick, last_tick, last_task_id, task.state AS last_outcome,
           missed.tick AS missed_from, missed.until AS missed_until,
           (SELECT count(*) FROM {schedule_tick} AS tick
            WHERE tick.app = schedule.app AND tick.name = schedule.name
              AND tick.fate = 'waiting') AS waiting,
           paused_at, now() AS now,
           CASE WHEN {live} THEN removed_at ELSE coalesce(removed_at, seen_at + {gone})
           END AS removed_at
    FROM {schedule} AS schedule
         LEFT JOIN {task} AS task ON task.id = schedule.last_task_id
         LEFT JOIN LATERAL (
             SELECT tick, until FROM {schedule_tick} AS tick
             WHERE tick.app = schedule.app AND tick.name = schedule.name
               AND tick.fate = 'missed' ORDER BY tick DESC LIMIT 1) AS missed ON true
    WHERE (CAST(:app AS text) IS NULL OR schedule.app = :app)
      AND (CAST(:name AS text) IS NULL OR schedule.name = :name)
    ORDER BY schedule.app, schedule.name
    """,
    app=TEXT,
)

_READ_TICKS = template(
    "read_ticks",
    """
    SELECT tick.tick, until, fate, task_id, state, noted_at
    FROM {schedule_tick} AS tick LEFT JOIN {task} AS task ON task.id = task_id
    WHERE tick.app = :app AND tick.name = :name ORDER BY tick.tick DESC LIMIT :limit
    """,
    app=TEXT,
    limit=INTEGER,
)

_LOCK_SCHEDULE = template(
    "lock_schedule",
    """
    SELECT CAST(definition AS text) AS definition, paused_at, now() AS now, {fenced}
    FROM {schedule}
    WHERE app = :app AND name = :name AND removed_at IS NULL AND {live} FOR UPDATE
    """,
    app=TEXT,
)

_PAUSE = template(
    "pause",
    """
    UPDATE {schedule} SET paused_at = now() WHERE app = :app AND name = :name RETURNING name
    """,
    app=TEXT,
)

_RESUME = template(
    "resume",
    """
    UPDATE {schedule} SET paused_at = NULL, next_tick = :next
    WHERE app = :app AND name = :name
    """,
    next=MOMENT,
    app=TEXT,
)


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule as it stands.

    Attributes:
        definition: As JSON.
        last_outcome: The state of the last task.
        missed_from: Of the latest ticks that were missed: the first.
        missed_until: And the last of them.
        waiting: How many ticks wait.
        now: The database's time.
    """

    app: str
    name: str
    definition: str
    next_tick: datetime | None
    last_tick: datetime | None
    last_task_id: UUID | None
    last_outcome: str | None
    missed_from: datetime | None
    missed_until: datetime | None
    waiting: int
    paused_at: datetime | None
    now: datetime
    removed_at: datetime | None

    @property
    def missed(self) -> tuple[datetime, datetime] | None:
        """The first and the last of the ticks that were missed latest."""
        if self.missed_from is None or self.missed_until is None:
            return None
        return self.missed_from, self.missed_until


@dataclass(frozen=True, slots=True)
class TickView:
    """A tick and what has become of it.

    Attributes:
        fate: ``fired``; ``asked`` (by hand); ``waiting`` or ``overlapped`` (a task of the schedule
            was unsettled); or ``missed``, from `tick` to `until`.
        state: Of its task, as long as that is kept.
    """

    tick: datetime
    until: datetime | None
    fate: str
    task_id: UUID | None
    state: str | None
    noted_at: datetime


@dataclass(frozen=True, slots=True)
class LockedSchedule:
    """A schedule that no leader fires meanwhile.

    Attributes:
        definition: As JSON.
        now: The database's time.
    """

    definition: str
    paused_at: datetime | None
    now: datetime


async def read_schedules(
    db: Statements, app: str | None = None, name: str | None = None
) -> list[StoredSchedule]:
    """The schedules, by app and name; None: any."""
    records = await db.execute_once(_READ_SCHEDULES(app=app, name=name))
    return [StoredSchedule(*record) for record in records]


async def read_ticks(db: Statements, app: str, name: str, limit: int) -> list[TickView]:
    """The ticks of a schedule, the latest first."""
    records = await db.execute_once(_READ_TICKS(app=app, name=name, limit=limit))
    return [TickView(*record) for record in records]


async def lock_schedule(db: Statements, app: str, name: str) -> LockedSchedule | None:
    """Lock a schedule, so that no leader fires it meanwhile; None: it was removed."""
    records = await db.execute_once(_LOCK_SCHEDULE(app=app, name=name))
    return LockedSchedule(*records[0][:-1]) if records else None


async def pause(db: Statements, app: str, name: str) -> bool:
    """Fire no tick from now on; False: there is no such schedule."""
    return bool(await db.execute_once(_PAUSE(app=app, name=name)))


async def resume(db: Statements, app: str, name: str, next_tick: datetime | None) -> None:
    """Go on with `next_tick`; what was due meanwhile is not run."""
    await db.execute_once(_RESUME(app=app, name=name, next=next_tick))
