"""The statements that read a task for those who have asked for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.models import TaskState
from uow.db.statement import ID, IDS, Statements, template

_ENDING = template(
    "ending",
    """
    SELECT state, CAST(result AS text) AS result, error_type, message, traceback
    FROM {task} LEFT JOIN LATERAL (
        SELECT error_type, message, traceback FROM {task_error}
        WHERE task_id = :id
          AND (state = 'failed'
               OR state = 'cancelled' AND error_type = 'Cancel'
                  AND {task_error}.attempt = {task}.attempt)
        ORDER BY {task_error}.id DESC LIMIT 1
    ) AS last ON true
    WHERE {task}.id = :id
    """,
    id=ID,
)

_READ = template(
    "read",
    """
    SELECT id, name, state, CAST(args AS text) AS args, CAST(result AS text) AS result,
           CAST(progress AS text) AS progress, queue, priority, user_id,
           coalesce(unique_key, waiting_key) AS unique_key, attempt, tries, worker, run_at,
           created_at, started_at, settled_at, CAST(headers AS text) AS headers
    FROM {task} WHERE id = :id
    """,
    id=ID,
)

_READ_ERRORS = template(
    "read_errors",
    """
    SELECT attempt, error_type, message, traceback, worker, started_at, failed_at
    FROM {task_error} WHERE task_id = :id ORDER BY id
    """,
    id=ID,
)


_READ_SETTLED = template(
    "read_settled",
    """
    SELECT state, id, coalesce(job_id, CAST(id AS text)) AS job_id, name, queue, user_id,
           CAST(headers AS text) AS headers, tick IS NOT NULL AS is_of_tick, attempt
    FROM {task} WHERE id = ANY(:ids) AND settled_at IS NOT NULL
    """,
    ids=IDS,
)


@dataclass(frozen=True, slots=True)
class LastWord:
    """How far a task is, and its last error: of a cancelled one if its function has cancelled it.

    Attributes:
        result: As JSON.
    """

    state: TaskState
    result: str | None
    error_type: str | None
    message: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A row, its errors apart. `args`, `result`, `progress` and `headers` are JSON."""

    id: UUID
    name: str
    state: TaskState
    args: str
    result: str | None
    progress: str | None
    queue: str
    priority: int
    user_id: str | None
    unique_key: str | None
    attempt: int
    tries: int
    worker: str | None
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    headers: str | None


@dataclass(frozen=True, slots=True)
class SettledTask:
    """What is told of a task when it is settled.

    Attributes:
        headers: As JSON; None: there are none.
        is_of_tick: A schedule has asked for it.
    """

    state: TaskState
    id: UUID
    job_id: str
    name: str
    queue: str
    user_id: str | None
    headers: str | None
    is_of_tick: bool
    attempt: int


@dataclass(frozen=True, slots=True)
class AttemptError:
    """One failed attempt."""

    attempt: int
    error_type: str
    message: str
    traceback: str
    worker: str | None
    started_at: datetime | None
    failed_at: datetime


async def ending(db: Statements, task_id: UUID) -> LastWord | None:
    """How far a task is; None: it is not there."""
    for state, *others in await db.execute_once(_ENDING(id=task_id)):
        return LastWord(TaskState(state), *others)
    return None


async def read(db: Statements, task_id: UUID) -> StoredTask | None:
    """Everything about a task but its errors; None: it is not there."""
    for id_, name, state, *others in await db.execute_once(_READ(id=task_id)):
        return StoredTask(id_, name, TaskState(state), *others)
    return None


async def read_errors(db: Statements, task_id: UUID) -> list[AttemptError]:
    """The errors of a task, oldest first."""
    return [AttemptError(*record) for record in await db.execute_once(_READ_ERRORS(id=task_id))]


async def read_settled(db: Statements, task_ids: Sequence[UUID]) -> list[SettledTask]:
    """Those of the tasks that are settled."""
    return [
        SettledTask(TaskState(state), *others)
        for state, *others in await db.execute_once(_READ_SETTLED(ids=task_ids))
    ]
