"""The statements about what the code says of schedules, and what of that holds.

The tick of a schedule is a row whose key is unique, written together with its task and with the
schedule's next tick in one transaction (`uow.db.ticks`). Time is the database's, whatever the
clocks of the workers show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from uow.db.statement import MOMENT, MOMENTS, REAL, TEXT, TEXTS, Statements, template

_SAY_QUEUE_OF_APP = template(
    "say_queue_of_app",
    """
    INSERT INTO {worker_app} AS known (app, queue) VALUES (:app, :queue)
    ON CONFLICT (app) DO UPDATE SET queue = excluded.queue, seen_at = now()
    WHERE known.seen_at < now() - CASE WHEN known.queue = excluded.queue THEN {refresh}
                                       ELSE {gone} END
    """,
    app=TEXT,
)

_FIND_QUEUE_OF_APP = template(
    "find_queue_of_app",
    "SELECT queue FROM {worker_app} WHERE app = :app",
    app=TEXT,
)

_REGISTER_VERSIONS = template(
    "register_versions",
    """
    INSERT INTO {schedule_version} AS known (app, name, version, definition, deployed_at)
    SELECT :app, given.name, given.version, CAST(given.definition AS jsonb),
           now() - make_interval(secs => :uptime)
    FROM unnest(:names, :versions, :definitions) AS given (name, version, definition)
    ORDER BY given.name
    ON CONFLICT (app, name, version) DO UPDATE
    SET seen_at = now(),
        deployed_at = CASE WHEN known.seen_at > now() - {gone} THEN known.deployed_at
                           ELSE greatest(known.deployed_at, excluded.deployed_at) END
    WHERE known.seen_at < now() - {refresh}
    """,
    app=TEXT,
    uptime=REAL,
    names=TEXTS,
    versions=TEXTS,
    definitions=TEXTS,
)

_FIND_CHANGED = template(
    "find_changed",
    """
    SELECT newest.name, newest.version, CAST(newest.definition AS text) AS definition,
           now() AS now
    FROM (SELECT DISTINCT ON (name) app, name, version, definition
          FROM {schedule_version}
          WHERE app = :app AND name = ANY(:names) AND {live}
          ORDER BY name, deployed_at DESC, version) AS newest
         LEFT JOIN {schedule} AS schedule USING (app, name)
    WHERE schedule.version IS DISTINCT FROM newest.version OR schedule.removed_at IS NOT NULL
    """,
    app=TEXT,
    names=TEXTS,
)

_ADOPT = template(
    "adopt",
    """
    INSERT INTO {schedule} AS schedule (app, name, version, definition, next_tick, created_at)
    SELECT :app, given.name, given.version, CAST(given.definition AS jsonb), given.next_tick,
           :now
    FROM unnest(:names, :versions, :definitions, :nexts)
         AS given (name, version, definition, next_tick)
    ORDER BY given.name
    ON CONFLICT (app, name) DO UPDATE
    SET version = excluded.version, definition = excluded.definition, seen_at = now(),
        removed_at = NULL,
        next_tick = CASE
            WHEN schedule.removed_at IS NULL AND (
                schedule.version = excluded.version OR schedule.next_tick <= now())
            THEN schedule.next_tick ELSE excluded.next_tick END
    """,
    app=TEXT,
    now=MOMENT,
    names=TEXTS,
    versions=TEXTS,
    definitions=TEXTS,
    nexts=MOMENTS,
)

_STILL_IN_CODE = template(
    "still_in_code",
    """
    UPDATE {schedule} SET seen_at = now()
    WHERE app = :app AND name = ANY(:names) AND seen_at < now() - {refresh}
    """,
    app=TEXT,
    names=TEXTS,
)

_RETIRE = template(
    "retire",
    """
    WITH retired AS (
        UPDATE {schedule} AS schedule SET removed_at = now()
        WHERE removed_at IS NULL AND NOT {live}
          AND EXISTS (SELECT FROM {worker_process} AS process
                      WHERE process.app = schedule.app AND NOT process.leaving
                        AND process.heartbeat_at > now() - make_interval(secs => 60)
                        AND process.started_at < now() - {gone})
        RETURNING app, name
    ), missed AS (
        UPDATE {schedule_tick} SET fate = 'missed', until = tick
        WHERE fate = 'waiting' AND (app, name) IN (SELECT app, name FROM retired)
    )
    SELECT app, name FROM retired
    """,
)

_FORGET_REMOVED = template(
    "forget_removed",
    """
    WITH forgotten AS (
        DELETE FROM {schedule}
        WHERE removed_at < now() - make_interval(secs => :retention) AND NOT {live}
        RETURNING app, name
    ), ticks AS (
        DELETE FROM {schedule_tick} WHERE (app, name) IN (SELECT app, name FROM forgotten)
    )
    DELETE FROM {schedule_version}
    WHERE NOT {live} AND seen_at < now() - make_interval(secs => :retention)
    """,
    retention=REAL,
)


@dataclass(frozen=True, slots=True)
class SaidVersion:
    """What a process's code says of one schedule.

    Attributes:
        definition: As JSON.
    """

    name: str
    version: str
    definition: str


@dataclass(frozen=True, slots=True)
class ChangedSchedule:
    """A schedule of which another version holds from now on.

    Attributes:
        definition: As JSON.
        now: The database's time.
    """

    name: str
    version: str
    definition: str
    now: datetime


@dataclass(frozen=True, slots=True)
class RetiredSchedule:
    """A schedule that is in nobody's code any more."""

    app: str
    name: str


async def say_queue_of_app(db: Statements, app: str, queue: str) -> None:
    """A process serves the queue that its settings name: the app's schedules go there.

    If it is the first to say anything, or if no process has said what the others did for so long
    that they are gone. Whoever comes later redirects nothing.
    """
    await db.execute_once(_SAY_QUEUE_OF_APP(app=app, queue=queue))


async def find_queue_of_app(db: Statements, app: str) -> str | None:
    """Where the app's schedules go; None: no process has said any."""
    records = await db.execute_once(_FIND_QUEUE_OF_APP(app=app))
    return records[0][0] if records else None


async def register_versions(
    db: Statements, app: str, said: Sequence[SaidVersion], uptime: float
) -> None:
    """What the code of a process says, which was started `uptime` seconds ago.

    A version that comes back after it was gone is deployed anew; one whose old processes only woke
    up is not.
    """
    statement = _REGISTER_VERSIONS(
        app=app,
        uptime=uptime,
        names=[one.name for one in said],
        versions=[one.version for one in said],
        definitions=[one.definition for one in said],
    )
    await db.execute_once(statement)


async def find_changed(db: Statements, app: str, names: Sequence[str]) -> list[ChangedSchedule]:
    """Those that are new, changed or back: the newest version that is live holds."""
    records = await db.execute_once(_FIND_CHANGED(app=app, names=names))
    return [ChangedSchedule(*record) for record in records]


async def adopt(
    db: Statements,
    app: str,
    now: datetime,
    those: Sequence[tuple[ChangedSchedule, datetime | None]],
) -> None:
    """Let new versions hold, each with its first tick, which is later than `now`.

    A new schedule begins with that, and so does one that was removed: never with the past. One that
    is changed keeps a tick that is due already.
    """
    statement = _ADOPT(
        app=app,
        now=now,
        names=[one.name for one, _ in those],
        versions=[one.version for one, _ in those],
        definitions=[one.definition for one, _ in those],
        nexts=[first for _, first in those],
    )
    await db.execute_once(statement)


async def still_in_code(db: Statements, app: str, names: Sequence[str]) -> None:
    """They are in the code of a process that lives."""
    await db.execute_once(_STILL_IN_CODE(app=app, names=names))


async def retire(db: Statements) -> list[RetiredSchedule]:
    """Take those out of service that live workers of the app have had their time to register.

    The ticks that wait are run by nobody any more.
    """
    return [RetiredSchedule(*record) for record in await db.execute_once(_RETIRE())]


async def forget_removed(db: Statements, retention: float) -> None:
    """Forget what was removed so many seconds ago that nobody asks for it any more."""
    await db.execute_once(_FORGET_REMOVED(retention=retention))
