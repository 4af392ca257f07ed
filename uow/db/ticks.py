"""The statements about the ticks of schedules: which are due, and what has become of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.statement import IDS, INTEGER, INTEGERS, MOMENTS, REAL, TEXTS, Statements, template

_FIND_DUE = template(
    "find_due",
    """
    SELECT app, name, CAST(definition AS text) AS definition, next_tick, now() AS now,
           least(now() - make_interval(secs => :uptime),
                 (SELECT min(started_at) FROM {worker_process}
                  WHERE heartbeat_at > now() - interval '2 seconds')) AS attended_since,
           {fenced}
    FROM {schedule}
    WHERE paused_at IS NULL AND removed_at IS NULL AND next_tick <= now() AND {live}
    ORDER BY next_tick LIMIT :limit FOR UPDATE SKIP LOCKED
    """,
    uptime=REAL,
    limit=INTEGER,
)

_FIND_WAITING = template(
    "find_waiting",
    """
    SELECT tick.app, tick.name, CAST(schedule.definition AS text) AS definition, tick.tick,
           {fenced}
    FROM {schedule_tick} AS tick CROSS JOIN LATERAL {its_schedule}
    WHERE tick.fate = 'waiting'
      AND NOT EXISTS (SELECT FROM {schedule_tick} AS earlier
                      WHERE earlier.app = tick.app AND earlier.name = tick.name
                        AND earlier.fate = 'waiting' AND earlier.tick < tick.tick)
      AND NOT EXISTS (SELECT FROM {task} AS task
                      WHERE task.settled_at IS NULL AND task.unique_key = {key_of_schedule})
    ORDER BY tick.tick LIMIT :limit FOR UPDATE OF tick SKIP LOCKED
    """,
    limit=INTEGER,
)

_UNTIL_NEXT_TICK = template(
    "until_next_tick",
    """
    SELECT (SELECT CAST(extract(epoch FROM next_tick - clock_timestamp()) AS double precision)
            FROM {schedule}
            WHERE paused_at IS NULL AND removed_at IS NULL AND next_tick IS NOT NULL AND {live}
            ORDER BY next_tick LIMIT 1) AS seconds,
           EXISTS (SELECT FROM {schedule_tick} AS tick CROSS JOIN LATERAL {its_schedule}
                   WHERE fate = 'waiting') AS waiting
    """,
)

_NOTE_TICKS = template(
    "note_ticks",
    """
    INSERT INTO {schedule_tick} (app, name, tick, fate, until, task_id)
    SELECT * FROM unnest(:apps, :names, :ticks, :fates, :untils, :ids)
    ON CONFLICT DO NOTHING
    RETURNING app, name, tick
    """,
    apps=TEXTS,
    names=TEXTS,
    ticks=MOMENTS,
    fates=TEXTS,
    untils=MOMENTS,
    ids=IDS,
)

_INSERT_TICKED = template(
    "insert_ticked",
    """
    INSERT INTO {task} (id, name, args, state, queue, priority, unique_key, tick, run_at,
                        dispatch_at, headers)
    SELECT id, name, CAST(args AS json),
           CASE WHEN run_at > now() THEN 'scheduled' ELSE 'queued' END,
           queue, priority, unique_key, tick, run_at,
           CASE {held_back} ELSE now() END, CAST(headers AS json)
    FROM unnest(:ids, :tasks, :arguments, :queues, :priorities, :keys, :ticks, :run_ats, :headers)
         AS given (id, name, args, queue, priority, unique_key, tick, run_at, headers)
    ON CONFLICT DO NOTHING
    RETURNING id
    """,
    ids=IDS,
    tasks=TEXTS,
    arguments=TEXTS,
    queues=TEXTS,
    priorities=INTEGERS,
    keys=TEXTS,
    ticks=MOMENTS,
    run_ats=MOMENTS,
    headers=TEXTS,
)

_DECIDE_TICKS = template(
    "decide_ticks",
    """
    UPDATE {schedule_tick} AS tick
    SET fate = given.fate, task_id = given.id, until = given.until
    FROM unnest(:apps, :names, :ticks, :fates, :untils, :ids)
         AS given (app, name, tick, fate, until, id)
    WHERE tick.app = given.app AND tick.name = given.name AND tick.tick = given.tick
    """,
    apps=TEXTS,
    names=TEXTS,
    ticks=MOMENTS,
    fates=TEXTS,
    untils=MOMENTS,
    ids=IDS,
)

_ADVANCE = template(
    "advance",
    """
    UPDATE {schedule} AS schedule
    SET next_tick = given.next_tick,
        last_tick = coalesce(given.last_tick, schedule.last_tick)
    FROM unnest(:apps, :names, :nexts, :ticks) AS given (app, name, next_tick, last_tick)
    WHERE schedule.app = given.app AND schedule.name = given.name
    """,
    apps=TEXTS,
    names=TEXTS,
    nexts=MOMENTS,
    ticks=MOMENTS,
)

_NOTE_LAST_TASKS = template(
    "note_last_tasks",
    """
    UPDATE {schedule} AS schedule SET last_task_id = given.id
    FROM unnest(:apps, :names, :ids) AS given (app, name, id)
    WHERE schedule.app = given.app AND schedule.name = given.name
    """,
    apps=TEXTS,
    names=TEXTS,
    ids=IDS,
)


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule with a tick that is due.

    Attributes:
        definition: As JSON.
        now: The database's time.
        attended_since: Since then there was a worker.
    """

    app: str
    name: str
    definition: str
    next_tick: datetime
    now: datetime
    attended_since: datetime


@dataclass(frozen=True, slots=True)
class WaitingTick:
    """The first tick of a schedule that waits until the task before it is settled.

    Attributes:
        definition: That of its schedule, as JSON.
    """

    app: str
    name: str
    definition: str
    tick: datetime


@dataclass(frozen=True, slots=True)
class TickFate:
    """What has become of a tick.

    Attributes:
        fate: fired, asked, waiting, overlapped or missed.
        until: For missed ticks: the last of them.
        task_id: Its task, should it have one.
    """

    app: str
    name: str
    tick: datetime
    fate: str
    until: datetime | None
    task_id: UUID | None


@dataclass(frozen=True, slots=True)
class TickedTask:
    """The task of a tick.

    Attributes:
        task: The name of its function.
        arguments: As JSON.
        unique_key: None: its schedule does not mind an unsettled task.
        headers: As JSON.
    """

    id: UUID
    task: str
    arguments: str
    queue: str
    priority: int
    unique_key: str | None
    tick: datetime
    run_at: datetime
    headers: str


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a schedule is.

    Attributes:
        next_tick: None: there is none.
        last_tick: None: it stays as it is.
    """

    app: str
    name: str
    next_tick: datetime | None
    last_tick: datetime | None


async def find_due(db: Statements, limit: int, uptime: float) -> list[DueSchedule]:
    """The leader's batch: schedules with a tick that is due, each for one leader only.

    Args:
        uptime: For so many seconds the leader has lived; others that live may have done so longer.
    """
    records = await db.execute_once(_FIND_DUE(limit=limit, uptime=uptime))
    return [DueSchedule(*due) for *due, _ in records]


async def find_waiting(db: Statements, limit: int) -> list[WaitingTick]:
    """The ticks that waited until the task before them was settled, the first of each schedule."""
    return [WaitingTick(*tick) for *tick, _ in await db.execute_once(_FIND_WAITING(limit=limit))]


async def until_next_tick(db: Statements) -> tuple[float | None, bool]:
    """Seconds until the next tick of any schedule (None: there is none); whether a tick waits."""
    ((seconds, waiting),) = await db.execute_once(_UNTIL_NEXT_TICK())
    return seconds, waiting


async def note_ticks(db: Statements, ticks: Sequence[TickFate]) -> set[tuple[str, str, datetime]]:
    """Note ticks; returns app, name and tick of those that nobody has noted before."""
    return {
        (app, name, tick)
        for app, name, tick in await db.execute_once(_NOTE_TICKS(**_columns(ticks)))
    }


async def insert_ticked(db: Statements, tasks: Sequence[TickedTask]) -> set[UUID]:
    """Make the tasks of ticks, unannounced: the relay pushes them.

    Returns:
        Those that were made: none for a tick whose schedule has an unsettled task and minds it.
    """
    statement = _INSERT_TICKED(
        ids=[one.id for one in tasks],
        tasks=[one.task for one in tasks],
        arguments=[one.arguments for one in tasks],
        queues=[one.queue for one in tasks],
        priorities=[one.priority for one in tasks],
        keys=[one.unique_key for one in tasks],
        ticks=[one.tick for one in tasks],
        run_ats=[one.run_at for one in tasks],
        headers=[one.headers for one in tasks],
    )
    return {id_ for (id_,) in await db.execute_once(statement)}


async def decide_ticks(db: Statements, ticks: Sequence[TickFate]) -> None:
    """What has become of ticks that were noted."""
    await db.execute_once(_DECIDE_TICKS(**_columns(ticks)))


def _columns(ticks: Sequence[TickFate]) -> dict[str, object]:
    return {
        "apps": [one.app for one in ticks],
        "names": [one.name for one in ticks],
        "ticks": [one.tick for one in ticks],
        "fates": [one.fate for one in ticks],
        "untils": [one.until for one in ticks],
        "ids": [one.task_id for one in ticks],
    }


async def advance(db: Statements, those: Sequence[Advance]) -> None:
    """Write how far schedules are."""
    statement = _ADVANCE(
        apps=[one.app for one in those],
        names=[one.name for one in those],
        nexts=[one.next_tick for one in those],
        ticks=[one.last_tick for one in those],
    )
    await db.execute_once(statement)


async def note_last_tasks(db: Statements, ticks: Sequence[TickFate]) -> None:
    """The tasks of these ticks are the last of their schedules."""
    statement = _NOTE_LAST_TASKS(
        apps=[one.app for one in ticks],
        names=[one.name for one in ticks],
        ids=[one.task_id for one in ticks],
    )
    await db.execute_once(statement)
