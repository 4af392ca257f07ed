"""Tasks in lists, and one task with all there is of it, as JSON."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from uow.db.models import TaskState
from uow.questions.one_task import AttemptEnd, Happening


class _Outgoing(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class TaskInList(_Outgoing):
    """A task as a list shows it."""

    id: UUID
    name: str
    state: TaskState
    queue: str
    user_id: str | None
    created_at: datetime
    run_at: datetime
    settled_at: datetime | None
    tries: int
    attempt: int
    priority: int
    started_at: datetime | None
    worker: str | None


class TaskList(_Outgoing):
    """A page of a list: exact, or with how far was looked."""

    tasks: list[TaskInList]
    next: str | None = Field(description="Give it as `after` for what follows; null: the end.")
    previous: str | None = Field(description="Give it as `before` for what is above.")
    looked_at: int | None = Field(
        description="Rows that were looked at before it was given up; null: the page is exact."
    )
    looked_down_to: datetime | None = Field(description="The moment up to which was looked, then.")


class AttemptOfTask(_Outgoing):
    """One attempt. Of those that left no error only the last one is known."""

    attempt: int
    end: AttemptEnd
    worker: str | None
    started_at: datetime | None
    ended_at: datetime | None
    waited: float | None = Field(description="Seconds from when it was due; null: not known.")
    ran: float | None = Field(description="Seconds.")
    error_type: str | None
    message: str | None
    traceback: str | None


class HappenedToTask(_Outgoing):
    """A line of a task's timeline."""

    at: datetime
    what: Happening
    attempt: int | None
    error_type: str | None


class OriginOfTask(_Outgoing):
    """Who has asked for a task."""

    headers: dict[str, str]
    trace_id: str | None
    schedule: str | None
    tick: datetime | None
    job_id: str | None = Field(description="Of the job of a stock arq client.")


class TaskInFull(TaskInList):
    """A task with all there is of it; what is private says `[redacted]`."""

    args: Any
    result: Any
    progress: Any
    unique_key: str | None
    deaths: int = Field(description="Processes that died under it.")
    expires_at: datetime | None = Field(description="When retention removes it.")
    origin: OriginOfTask
    attempts: list[AttemptOfTask]
    timeline: list[HappenedToTask]


_ID = "019a9d2e-6b1c-7c3e-9b1f-0d2c5a7e4f11"

TASK_IN_LIST: dict[str, Any] = {
    "id": _ID, "name": "billing.charge", "state": "failed", "queue": "arq:queue", "user_id": "7",
    "created_at": "2030-01-31T12:00:00Z", "run_at": "2030-01-31T12:00:00Z",
    "settled_at": "2030-01-31T12:00:02Z", "tries": 5, "attempt": 5, "priority": 0,
    "started_at": "2030-01-31T12:00:01Z", "worker": "host-1:4711",
}  # fmt: skip
"""An example of `TaskInList`."""

TASK_LIST: dict[str, Any] = {
    "tasks": [TASK_IN_LIST], "next": _ID, "previous": None, "looked_at": None,
    "looked_down_to": None,
}  # fmt: skip
"""An example of `TaskList`."""

TASK_IN_FULL: dict[str, Any] = {
    **TASK_IN_LIST, "args": {"order_id": 7, "card_token": "[redacted]"}, "result": None,
    "progress": None, "unique_key": None, "deaths": 0, "expires_at": "2030-02-07T12:00:02Z",
    "origin": {"headers": {}, "trace_id": None, "schedule": None, "tick": None, "job_id": None},
    "attempts": [{
        "attempt": 5, "end": "error", "worker": "host-1:4711",
        "started_at": "2030-01-31T12:00:01Z", "ended_at": "2030-01-31T12:00:02Z", "waited": 1.0,
        "ran": 1.0, "error_type": "CardDeclined", "message": "no funds",
        "traceback": "Traceback …",
    }],
    "timeline": [
        {"at": "2030-01-31T12:00:00Z", "what": "asked for", "attempt": None, "error_type": None},
    ],
}  # fmt: skip
"""An example of `TaskInFull`."""
