"""What goes in and out of the routes that act, as JSON."""

import json
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt
from pydantic.config import JsonDict

from uow.acts.bulk import BulkState, BulkView
from uow.acts.named import ActName
from uow.acts.noted import LONGEST_REASON
from uow.db.audit import AuditRow
from uow.db.bulk import GOOD_SECONDS
from uow.db.models import TaskState
from uow.tasks.options import MAX_PRIORITY

Reason = Annotated[
    str | None, Field(max_length=LONGEST_REASON, description="Why; it stands in the audit.")
]
Priority = Annotated[StrictInt, Field(ge=0, le=MAX_PRIORITY)]


_ID = "019a9d2e-6b1c-7c3e-9b1f-0d2c5a7e4f11"

_BULK_ACT: JsonDict = {
    "id": _ID, "act": "retry", "options": {}, "filter": {"name": "billing.*"}, "reason": None,
    "state": "running", "count": 4120, "count_is_exact": True,
    "samples": [{
        "id": "019a9d2e-6b1c-7c3e-9b1f-0d2c5a7e4f12", "name": "billing.charge", "state": "failed",
        "queue": "arq:queue", "user_id": "7",
    }],
    "previewed_at": "2030-01-31T12:00:00Z", "good_seconds": GOOD_SECONDS,
    "confirmed_at": "2030-01-31T12:01:00Z", "ended_at": None, "looked_at": 260, "done": 250,
    "left_alone": {
        "key_taken": {"count": 1, "ids": ["019a9d2e-6b1c-7c3e-9b1f-0d2c5a7e4f13"]},
    },
    "stopped_by": None, "error": None,
}  # fmt: skip

_AUDIT_ENTRY: JsonDict = {
    "id": 17, "at": "2030-01-31T12:00:00Z", "who": "ann", "face": "api", "address": "192.0.2.7",
    "what": "retry", "task_id": _ID, "bulk_id": None, "filter": None, "counts": None,
    "options": None, "reason": "the wrong order", "args": {"order_id": 7},
}  # fmt: skip


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    reason: Reason = None


class ActAsked(_Asked):
    """An act on one task."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "the partner is down"}]})


class RetryAsked(_Asked):
    """A retry; with other arguments, if they are given."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"args": {"order_id": 8}, "reason": "the wrong order"}]}
    )

    args: dict[str, Any] | None = Field(
        None, description="All of them; the old ones stay in the audit, redacted."
    )


class PriorityAsked(_Asked):
    """Another priority."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 5}]})

    priority: Priority


class PreviewAsked(_Asked):
    """An act on all tasks that a filter means."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"act": "retry", "filter": {"name": "billing.*", "settled-since": "12h"}}]
        }
    )

    act: ActName
    filter: dict[str, str] = Field(description="The words of a list: `state`, `name`, `queue`, …")
    priority: Priority | None = Field(None, description="Of the act `priority`.")


class ConfirmAsked(BaseModel):
    """A preview that is confirmed."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, json_schema_extra={"examples": [{"id": _ID}]}
    )

    id: UUID


class SampleTask(BaseModel):
    """A task as a preview shows it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    state: TaskState
    queue: str
    user_id: str | None


class LeftAloneTasks(BaseModel):
    """How many tasks were left alone for one reason, and some of them."""

    count: int
    ids: list[UUID]


class BulkActShown(BaseModel):
    """A bulk act as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BULK_ACT]})

    id: UUID
    act: ActName | str
    options: dict[str, int]
    filter: dict[str, str]
    reason: str | None
    state: BulkState
    count: int = Field(description="Tasks that were found when it was previewed.")
    count_is_exact: bool = Field(description="False: there are more than `count`.")
    samples: list[SampleTask]
    previewed_at: datetime
    good_seconds: int = Field(GOOD_SECONDS, description="How long a preview can be confirmed.")
    confirmed_at: datetime | None
    ended_at: datetime | None
    looked_at: int
    done: int
    left_alone: dict[str, LeftAloneTasks]
    stopped_by: str | None
    error: str | None

    @classmethod
    def of(cls, view: BulkView) -> Self:
        """As the row says it."""
        row = view.row
        return cls(
            id=row.id, act=row.act, options=dict(row.options), filter=dict(row.filter),
            reason=row.reason, state=view.state, count=row.count, count_is_exact=row.is_exact,
            samples=[SampleTask.model_validate(one) for one in view.samples],
            previewed_at=row.previewed_at, confirmed_at=row.confirmed_at, ended_at=row.ended_at,
            looked_at=row.looked_at, done=row.done,
            left_alone={why: LeftAloneTasks(**said) for why, said in row.left_alone.items()},
            stopped_by=row.stopped_by, error=row.error,
        )  # fmt: skip


class AuditEntryShown(BaseModel):
    """What was done by whom."""

    id: int
    at: datetime
    who: str
    face: str = Field(description="Where it was asked for: `api`, `page` or `shell`.")
    address: str | None
    what: str
    task_id: UUID | None
    bulk_id: UUID | None
    filter: dict[str, str] | None
    counts: dict[str, Any] | None
    options: dict[str, int | str] | None
    reason: str | None
    args: dict[str, Any] | None = Field(
        description="What a task's arguments were before they were edited, redacted."
    )

    @classmethod
    def of(cls, row: AuditRow) -> Self:
        """As the row says it."""
        values: dict[str, Any] = {name: getattr(row, name) for name in AuditRow.__slots__}
        for name in ("filter", "counts", "options", "args"):
            values[name] = None if values[name] is None else json.loads(values[name])
        return cls(**values)


class AuditPage(BaseModel):
    """A page of the audit, newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"entries": [_AUDIT_ENTRY], "next": None}]}
    )

    entries: list[AuditEntryShown]
    next: int | None = Field(description="Give it as `before` for the next page; null: the end.")
