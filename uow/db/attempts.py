"""The statements about an attempt until it ends: its start, and what it says while it runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from uow.db.models import TaskState
from uow.db.statement import (
    BOOLEAN,
    ID,
    IDS,
    INTEGER,
    SILENT_SECONDS,
    Statement,
    Statements,
    template,
)

_START = template(
    "start",
    # One that runs already is only overtaken on purpose. Nobody waits for the disk: whatever is
    # committed after it is flushed after it, and a start that a crash of Postgres takes back has
    # had no effect that is still there.
    """
    UPDATE {task}
    SET attempt = attempt + 1, state = 'running', started_at = clock_timestamp(),
        worker = :worker, alone = false, waiting_key = NULL
    WHERE id = :id AND {unsettled} AND run_at <= now()
      AND (state <> 'running' OR :take_over)
    RETURNING id, name, CAST(args AS text) AS args, attempt, tries, user_id, deaths, tick,
              CAST(headers AS text) AS headers, {waited}, {unflushed}
    """,
    id=ID,
    take_over=BOOLEAN,
)

_START_MANY = template(
    "start_many",
    # Rows are locked in the order of :ids, as in `succeed_many`: all callers sort, so two batches
    # wait for each other and no more. Each is found by its key, whatever the planner believes of
    # the table: LATERAL, and a LIMIT for which a plan that is kept expects one row.
    """
    UPDATE {task} AS task
    SET attempt = attempt + 1, state = 'running', started_at = clock_timestamp(),
        worker = :worker, alone = false, waiting_key = NULL
    FROM (SELECT * FROM unnest(:ids) LIMIT cardinality(:ids)) AS given (id)
         CROSS JOIN LATERAL (
             SELECT id FROM {task} AS candidate
             WHERE candidate.id = given.id AND {unsettled} AND run_at <= now()
               AND state <> 'running'
             FOR UPDATE SKIP LOCKED) AS due
    WHERE task.id = due.id
    RETURNING task.id, name, CAST(args AS text) AS args, attempt, tries, user_id,
              deaths, tick, CAST(headers AS text) AS headers, {waited}, {unflushed}
    """,
    ids=IDS,
)

_LOOK_UP = template(
    "look_up",
    """
    SELECT settled_at IS NOT NULL AS settled, state, worker, attempt,
           CAST(extract(epoch FROM run_at - now()) AS double precision) AS wait,
           CAST(extract(epoch FROM now() - unknown_since) AS double precision) AS unknown
    FROM {task} WHERE id = :id
    """,
    id=ID,
)

_NOTE_UNKNOWN = template(
    "note_unknown",
    """
    UPDATE {task} SET unknown_since = now()
    WHERE id = :id AND {unsettled} AND unknown_since IS NULL
    """,
    id=ID,
)

_IS_CURRENT = template(
    "is_current",
    """
    SELECT {fenced} FROM {task}
    WHERE id = :id AND {unsettled} AND attempt = :attempt FOR SHARE
    """,
    id=ID,
    attempt=INTEGER,
)

_RUN_ALONE = template(
    "run_alone",
    """
    UPDATE {task} SET alone = true
    WHERE id = :id AND {unsettled} AND attempt = :attempt
    RETURNING id
    """,
    id=ID,
    attempt=INTEGER,
)

_REPORT_PROGRESS = template(
    "report_progress",
    """
    UPDATE {task} SET progress = CAST(:progress AS json)
    WHERE id = :id AND {unsettled} AND attempt = :attempt
    RETURNING id
    """,
    id=ID,
    attempt=INTEGER,
)


class Started(NamedTuple):
    """A task of which an attempt has begun.

    Attributes:
        args: As JSON.
        attempt: The number of this one.
        tries: How many have failed.
        deaths: How many processes have died under it.
        tick: The tick of a schedule that it belongs to.
        headers: As JSON; None: there are none.
        waited: Seconds since it was due.
    """

    id: UUID
    name: str
    args: str
    attempt: int
    tries: int
    user_id: str | None
    deaths: int
    tick: datetime | None
    headers: str | None
    waited: float


async def start(
    db: Statements,
    task_id: UUID,
    worker: str,
    *,
    take_over: bool = False,
    limit: float = SILENT_SECONDS,
) -> Started | None:
    """Begin an attempt; None: it is settled, not due, running, or not there (`look_up` tells).

    Args:
        take_over: Overtake the attempt that the row says is running.
    """
    statement = _START(id=task_id, worker=worker, take_over=take_over)
    records = await db.execute_once(statement, limit=limit)
    return Started._make(records[0][:-1]) if records else None


async def start_many(
    db: Statements, task_ids: Sequence[UUID], worker: str, *, limit: float = SILENT_SECONDS
) -> list[Started]:
    """Begin an attempt of each that is due, not running, and whose row nobody holds locked.

    Args:
        task_ids: Sorted.
    """
    records = await db.execute_once(_START_MANY(ids=task_ids, worker=worker), limit=limit)
    return [Started._make(record[:-1]) for record in records]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a task stands.

    Attributes:
        worker: The process that runs it, or has run it last.
        attempt: The number of its last attempt.
        wait: Seconds until it is due; below 0: since it was.
        unknown: For so many seconds workers have met it without its function; None: none has.
    """

    settled: bool
    state: TaskState
    worker: str | None
    attempt: int
    wait: float
    unknown: float | None


async def look_up(
    db: Statements, task_id: UUID, *, limit: float = SILENT_SECONDS
) -> Standing | None:
    """How a task stands; None: it is not there."""
    records = await db.execute_once(_LOOK_UP(id=task_id), limit=limit)
    for settled, state, *others in records:
        return Standing(settled, TaskState(state), *others)
    return None


class Guard(Enum):
    """Whether an attempt still decides about its task."""

    HELD = "it does"
    SETTLED = "the task is settled, or not there any more"
    OVERTAKEN = "a later attempt does"


async def guard_of(db: Statements, task_id: UUID, attempt: int) -> Guard:
    """What became of an attempt's guard, as the row says it now.

    A commit that was refused with `GUARD_FAILED` was refused by its guard unless this is `HELD`:
    then it is a division by zero of the user's own.
    """
    standing = await look_up(db, task_id)
    if standing is None or standing.settled:
        return Guard.SETTLED
    return Guard.HELD if standing.attempt == attempt else Guard.OVERTAKEN


async def note_unknown(db: Statements, task_id: UUID) -> None:
    """A worker has met it for the first time without knowing its name."""
    await db.execute_once(_NOTE_UNKNOWN(id=task_id))


def current(task_id: UUID, attempt: int) -> Statement:
    """Finds a row if this attempt is still the one.

    It holds the row against a settle until the commit, but not longer than a process that stalls
    deserves.
    """
    return _IS_CURRENT(id=task_id, attempt=attempt)


async def is_current(db: Statements, task_id: UUID, attempt: int) -> bool:
    """Whether this attempt is still the one, now."""
    return bool(await db.execute_once(current(task_id, attempt)))


async def run_alone(db: Statements, task_id: UUID, attempt: int) -> bool:
    """From now on nothing else runs in the process of this attempt; its death would count.

    Returns:
        False: the task is settled, or overtaken.
    """
    return bool(await db.execute_once(_RUN_ALONE(id=task_id, attempt=attempt)))


async def report_progress(db: Statements, task_id: UUID, attempt: int, progress: str) -> bool:
    """What an attempt wants people to see while it runs, as JSON.

    Returns:
        False: the task is settled, or overtaken.
    """
    statement = _REPORT_PROGRESS(id=task_id, attempt=attempt, progress=progress)
    return bool(await db.execute_once(statement))
