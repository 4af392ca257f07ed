"""One task: what it was asked for with, what came of it, and how that went."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from uow.broker import codec
from uow.db import one_task
from uow.db.audit import AuditRow
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.models import TaskState
from uow.db.one_task import WholeRow
from uow.db.reading import AttemptError
from uow.questions.redaction import Redaction
from uow.tasks.headers import SCHEDULE
from uow.telemetry.subject import trace_of

MOST_ACTS = 20
"""On one task: more are in the audit."""

Happening = Literal["asked for", "due", "started", "failed", "succeeded", "cancelled", "unknown"]
"""What is in a timeline. Unknown: a worker has met it without having its function."""

AttemptEnd = Literal["error", "running", "succeeded", "cancelled", "put off"]
"""How an attempt ended. Put off: it was snoozed, or handed back."""


@dataclass(frozen=True, slots=True)
class OneAttempt:
    """One attempt, as far as it is known: of those that left no error only the last one is.

    Attributes:
        waited: Seconds from when the task was due until it began; None: not known any more.
        ran: Seconds until it ended; of one that runs, None.
        error_type: With `message` and `traceback`, of the error that it ended with.
    """

    attempt: int
    end: AttemptEnd
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    waited: float | None
    ran: float | None
    error_type: str | None = None
    message: str | None = None
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Happened:
    """A line of a timeline."""

    at: datetime
    what: Happening
    attempt: int | None = None
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class TaskOrigin:
    """Who has asked for a task.

    Attributes:
        headers: What travels with it, redacted.
        trace_id: Of the trace that it was asked for in.
        schedule: That has asked for it, with its tick.
        job_id: Of the job of a stock arq client.
    """

    headers: Mapping[str, str]
    trace_id: str | None
    schedule: str | None
    tick: datetime | None
    job_id: str | None


@dataclass(frozen=True, slots=True)
class OneTask:
    """A task. `args`, `result` and `progress` are JSON values, redacted.

    Attributes:
        attempts: Those of which something is known, the oldest first.
        timeline: What has happened to it, in order.
        expires_at: When retention removes it.
    """

    id: UUID
    name: str
    state: TaskState
    args: Any
    result: Any
    progress: Any
    queue: str
    priority: int
    user_id: str | None
    unique_key: str | None
    attempt: int
    tries: int
    deaths: int
    worker: str | None
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    expires_at: datetime | None
    origin: TaskOrigin
    attempts: tuple[OneAttempt, ...]
    timeline: tuple[Happened, ...]


async def look_at(db: Database, task_id: UUID, redaction: Redaction) -> OneTask | None:
    """All there is of a task; None: it is not there.

    Args:
        redaction: What nobody is to see.
    """
    async with bounded_reading(db) as transaction:
        row = await one_task.whole(transaction, task_id)
        if row is None:
            return None
        errors = await one_task.newest_errors(transaction, task_id)
    return _told(row, errors, redaction)


async def look_at_with_acts(
    db: Database, task_id: UUID, redaction: Redaction
) -> tuple[OneTask, Sequence[AuditRow]] | None:
    """The same, with the newest of what somebody has done to it."""
    async with bounded_reading(db) as transaction:
        found = await one_task.whole_with_acts(transaction, task_id, MOST_ACTS)
        if found is None:
            return None
        row, acts = found
        errors = await one_task.newest_errors(transaction, task_id)
    return _told(row, errors, redaction), acts


def _told(row: WholeRow, errors: Sequence[AttemptError], redaction: Redaction) -> OneTask:
    attempts = tuple(_attempts(row, errors))
    result = None if row.result is None else codec.from_bytes(row.result)
    return OneTask(
        id=row.id, name=row.name, state=row.state, queue=row.queue, priority=row.priority,
        args=redaction.arguments(row.name, codec.from_bytes(row.args)),
        result=None if row.result is None else redaction.result(row.name, result),
        progress=redaction.values(codec.from_bytes(row.progress)),
        user_id=row.user_id, unique_key=row.unique_key or row.waiting_key, attempt=row.attempt,
        tries=row.tries, deaths=row.deaths, worker=row.worker, run_at=row.run_at,
        created_at=row.created_at, started_at=row.started_at, settled_at=row.settled_at,
        expires_at=row.expires_at, origin=_origin(row, redaction), attempts=attempts,
        timeline=tuple(sorted(_timeline(row, attempts), key=lambda one: one.at)),
    )  # fmt: skip


def _origin(row: WholeRow, redaction: Redaction) -> TaskOrigin:
    headers = codec.from_bytes(row.headers) or {}
    return TaskOrigin(
        headers=redaction.values(headers),
        trace_id=trace_of(headers),
        schedule=headers.get(SCHEDULE),
        tick=row.tick,
        job_id=row.job_id,
    )


def _attempts(row: WholeRow, errors: Sequence[AttemptError]) -> Iterator[OneAttempt]:
    for error in errors:
        last = error.attempt == row.attempt and row.state.settled
        yield OneAttempt(
            error.attempt, "error", error.worker, error.started_at, error.failed_at,
            _seconds(row.run_at, error.started_at) if last else None,
            _seconds(error.started_at, error.failed_at), error.error_type, error.message,
            error.traceback,
        )  # fmt: skip
    if row.started_at is not None and row.attempt not in {error.attempt for error in errors}:
        yield _last_attempt(row)


def _last_attempt(row: WholeRow) -> OneAttempt:
    """The one that has left no error."""
    end: AttemptEnd = "put off"
    if row.state is TaskState.RUNNING:
        end = "running"
    elif row.state in (TaskState.SUCCEEDED, TaskState.CANCELLED):
        end = "succeeded" if row.state is TaskState.SUCCEEDED else "cancelled"
    known = end != "put off"  # which has set another time at which the task is due
    return OneAttempt(
        row.attempt, end, row.worker, row.started_at, row.settled_at,
        _seconds(row.run_at, row.started_at) if known else None,
        _seconds(row.started_at, row.settled_at),
    )  # fmt: skip


def _seconds(since: datetime | None, until: datetime | None) -> float | None:
    if since is None or until is None:
        return None
    return max((until - since) / timedelta(seconds=1), 0.0)


def _timeline(row: WholeRow, attempts: Sequence[OneAttempt]) -> Iterator[Happened]:
    yield Happened(row.created_at, "asked for")
    if row.run_at > row.created_at:
        yield Happened(row.run_at, "due")
    if row.unknown_since is not None:
        yield Happened(row.unknown_since, "unknown")
    for one in attempts:
        if one.started_at is not None:
            yield Happened(one.started_at, "started", one.attempt)
        if one.end == "error" and one.ended_at is not None:
            yield Happened(one.ended_at, "failed", one.attempt, one.error_type)
    if row.settled_at is not None and not _is_said(row, attempts):
        what: dict[TaskState, Happening] = {
            TaskState.SUCCEEDED: "succeeded", TaskState.CANCELLED: "cancelled",
        }  # fmt: skip
        yield Happened(row.settled_at, what.get(row.state, "failed"), row.attempt or None)


def _is_said(row: WholeRow, attempts: Sequence[OneAttempt]) -> bool:
    """Whether its last attempt's error has said already that it failed."""
    last = attempts[-1] if attempts else None
    return row.state is TaskState.FAILED and last is not None and last.attempt == row.attempt
