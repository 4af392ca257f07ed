"""What the tables say about the fleet and its work, for whoever looks whether all is well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.fleet import FLEET_DUTY
from uow.db.statement import IDS, INTEGER, REAL, Statements, template

LOOKED_AT = 10_000
"""Unsettled tasks of each half that are looked at, as in `uow.db.backlog`."""

_LIVE_PROCESSES = template(
    "live_processes",
    # Columns of a later version are found by their names, where there are some.
    """
    SELECT id, app, queue, leaving, to_jsonb(process) ->> 'host' AS host,
           to_jsonb(process) ->> 'version' AS version,
           CAST(to_jsonb(process) ->> 'lease_seconds' AS double precision) AS lease,
           CAST(to_jsonb(process) ->> 'lag' AS double precision) AS lag
    FROM {worker_process} AS process
    WHERE heartbeat_at > now() - make_interval(secs => :seconds)
    ORDER BY id LIMIT 1000
    """,
    seconds=REAL,
)

_LED_UNTIL = template(
    "led_until",
    """
    SELECT holder, CAST(extract(epoch FROM now() - greatest(until, to_timestamp(0)))
                        AS double precision) AS over_for
    FROM {worker_leader} WHERE duty = :duty
    """,
)

_UNSETTLED_WORK = template(
    "unsettled_work",
    # In two halves, as the backlog is.
    """
    SELECT queue, name,
           count(*) FILTER (WHERE run_at <= now() AND state <> 'running') AS due,
           CAST(extract(epoch FROM now() - min(run_at) FILTER (
               WHERE run_at <= now() AND state <> 'running')) AS double precision) AS waited,
           count(unknown_since) AS unknown,
           CAST(extract(epoch FROM now() - min(unknown_since)) AS double precision) AS unknown_for,
           count(*) FILTER (WHERE deaths >= {suspect}) AS suspects,
           CAST(extract(epoch FROM now() - min(run_at) FILTER (
               WHERE deaths >= {suspect} AND state <> 'running')) AS double precision)
               AS suspect_waits,
           min(CAST(id AS text)) FILTER (
               WHERE deaths >= {suspect} AND state <> 'running') AS suspect,
           count(*) FILTER (WHERE pushed) AS pushed, count(*) FILTER (WHERE NOT pushed) AS others
    FROM (
        (SELECT id, queue, name, state, run_at, unknown_since, deaths, false AS pushed FROM {task}
         WHERE settled_at IS NULL AND dispatch_at < 'infinity'
         ORDER BY dispatch_at, id LIMIT :most)
        UNION ALL
        (SELECT id, queue, name, state, run_at, unknown_since, deaths, true AS pushed FROM {task}
         WHERE settled_at IS NULL AND dispatch_at >= 'infinity'
         ORDER BY dispatch_at, id LIMIT :most)
    ) AS looked_at
    GROUP BY queue, name
    """,
    most=INTEGER,
)

_STALE_SCHEDULES = template(
    "stale_schedules",
    """
    SELECT app, name, seen_at, next_tick,
           seen_at <= now() - {gone} AS unseen,
           CAST(extract(epoch FROM now() - next_tick) AS double precision) AS overdue
    FROM {schedule}
    WHERE removed_at IS NULL AND paused_at IS NULL
      AND (seen_at <= now() - {gone} OR next_tick < now() - make_interval(secs => :seconds))
    ORDER BY app, name LIMIT 100
    """,
    seconds=REAL,
)

_ROWS_THERE = template(
    "rows_there", "SELECT CAST(id AS text) FROM {task} WHERE id = ANY(:ids)", ids=IDS
)


@dataclass(frozen=True, slots=True)
class LiveProcess:
    """A worker process with a heartbeat.

    Attributes:
        queues: Those that it serves.
        host, version, lease_seconds, loop_lag: None: it does not say.
    """

    id: str
    app: str
    queues: tuple[str, ...]
    leaving: bool
    host: str | None
    version: str | None
    lease_seconds: float | None
    loop_lag: float | None


@dataclass(frozen=True, slots=True)
class Work:
    """What is unsettled of one task function in one queue, as far as was looked.

    Attributes:
        due: Tasks that wait for a worker.
        waited: Seconds since the first of them was due.
        unknown: Tasks that a worker has met without the function that they need.
        unknown_for: Seconds since the first of them was.
        suspects: Tasks under which processes died.
        suspect_waits: Seconds for which one of them has been due; None: none waits.
        suspect: One that waits.
        pushed, others: How many tasks were looked at.
    """

    queue: str
    name: str
    due: int
    waited: float | None
    unknown: int
    unknown_for: float | None
    suspects: int
    suspect_waits: float | None
    suspect: str | None
    pushed: int
    others: int


@dataclass(frozen=True, slots=True)
class StaleSchedule:
    """A schedule that no code has, or that has not fired when it should have.

    Attributes:
        unseen: No live worker has had it for long.
        overdue: Seconds since its next tick; None: it has none.
    """

    app: str
    name: str
    seen_at: datetime
    next_tick: datetime | None
    unseen: bool
    overdue: float | None


@dataclass(frozen=True, slots=True)
class Lead:
    """Who leads the fleet, or has.

    Attributes:
        over_for: Seconds since its lead is over; below 0: it goes on.
    """

    holder: str
    over_for: float


async def live_processes(db: Statements, seconds: float) -> list[LiveProcess]:
    """The processes whose heartbeat is no older; 1,000 of them at most."""
    return [
        LiveProcess(id_, app, tuple(queue.split(",")), *others)
        for id_, app, queue, *others in await db.execute_once(_LIVE_PROCESSES(seconds=seconds))
    ]


async def led_until(db: Statements) -> Lead | None:
    """Who leads the fleet; None: nobody ever has."""
    for record in await db.execute_once(_LED_UNTIL(duty=FLEET_DUTY)):
        return Lead(*record)
    return None


async def unsettled_work(db: Statements) -> list[Work]:
    """What is unsettled, by queue and name: the first `LOOKED_AT` of those that are pushed, and of
    those that are not."""
    return [Work(*record) for record in await db.execute_once(_UNSETTLED_WORK(most=LOOKED_AT))]


async def stale_schedules(db: Statements, seconds: float) -> list[StaleSchedule]:
    """The schedules that no code has, or whose next tick is `seconds` over; 100 at most."""
    records = await db.execute_once(_STALE_SCHEDULES(seconds=seconds))
    return [StaleSchedule(*record) for record in records]


async def rows_there(db: Statements, ids: Sequence[UUID]) -> set[str]:
    """Those of the tasks that have a row."""
    return {id_ for (id_,) in await db.execute_once(_ROWS_THERE(ids=ids))}
