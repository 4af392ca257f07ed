"""What goes in and out, as JSON."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    field_validator,
)
from pydantic.config import JsonDict
from pydantic_core import from_json, to_json

from uow.db.models import TaskState
from uow.settings.queues import fault_in_name
from uow.tasks.interventions import Retryable
from uow.tasks.options import MAX_PRIORITY, OptionValues, Unique

MAX_DELAY_SECONDS = 10 * 365 * 86_400
"""Ten years."""

MAX_TEXT = 255
"""Characters; Postgres cannot index values of more than some 2,700 bytes."""


def _to_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # hours away from the first or the last day there is
        raise ValueError("is out of range") from None


def _is_queue(name: str) -> str:
    if fault := fault_in_name(name):
        raise ValueError(fault)
    return name


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Queue = Annotated[str, AfterValidator(_is_queue)]
Number = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]


_ID = "019a9d2e-6b1c-7c3e-9b1f-0d2c5a7e4f11"


def _example(value: JsonDict) -> ConfigDict:
    """Of a model, for OpenAPI; added to what its parents say."""
    return ConfigDict(json_schema_extra={"examples": [value]})


class _Incoming(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Outgoing(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class NewTask(_Incoming):
    """A task to be enqueued: the task function's name, its arguments, and options."""

    model_config = _example({"name": "billing.charge", "args": {"order_id": 7}, "user_id": "7"})

    name: Text
    args: dict[str, Any] = {}
    user_id: Text | Number | None = None
    delay: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] | None = None
    run_at: Moment | None = None
    unique_key: Text | None = None
    unique: Unique = "unsettled"
    queue: Queue | None = None
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] | None = None
    headers: dict[Text, str] | None = Field(None, description="What travels with it; 4 KiB.")

    @field_validator("args")
    @classmethod
    def _can_be_read_back(cls, args: dict[str, Any]) -> dict[str, Any]:
        # Python's parser takes more than JSON is (NaN, lone surrogates), and deeper nesting than
        # the worker reads.
        try:
            from_json(to_json(args, inf_nan_mode="constants"), allow_inf_nan=False)
        except ValueError:
            raise ValueError("is not JSON, or nested too deeply") from None
        return args

    @property
    def options(self) -> OptionValues:
        """The options, for `TaskFunction.options`."""
        return OptionValues(
            user_id=self.user_id,
            delay=self.delay,
            run_at=self.run_at,
            unique_key=self.unique_key,
            unique=self.unique,
            queue=self.queue,
            priority=self.priority,
            headers=self.headers,
        )


class Enqueued(_Outgoing):
    """The task's id; with a `unique_key`, that of the task that holds it."""

    model_config = _example({"id": _ID})

    id: UUID


class RetryFilter(_Incoming):
    """Which tasks are to run again: the failed ones that fit everything that is given."""

    model_config = _example({"name": "billing.charge", "settled_before": "2030-01-31T12:00:00Z"})

    name: Text | None = None
    state: Retryable | None = Field(None, description="Instead of the failed ones.")
    queue: Text | None = None
    user_id: Text | Number | None = None
    settled_before: Moment | None = None
    limit: Annotated[StrictInt, Field(gt=0, lt=2**31)] | None = None


class Retried(BaseModel):
    """How many tasks run again."""

    model_config = _example({"retried": 12})

    retried: int


class TaskError(_Outgoing):
    """One failed attempt."""

    attempt: int
    type: str = Field(validation_alias="error_type")
    message: str
    traceback: str
    failed_at: datetime


class Task(_Outgoing):
    """A task as it stands."""

    model_config = _example({
        "id": _ID, "name": "billing.charge", "state": "failed", "args": {"order_id": 7},
        "result": None, "progress": None,
        "errors": [{
            "attempt": 1, "type": "CardDeclined", "message": "no funds",
            "traceback": "Traceback …", "failed_at": "2030-01-31T12:00:02Z",
        }],
        "user_id": "7", "run_at": "2030-01-31T12:00:00Z", "created_at": "2030-01-31T12:00:00Z",
        "started_at": "2030-01-31T12:00:01Z", "settled_at": "2030-01-31T12:00:02Z", "attempt": 1,
        "tries": 1, "queue": "arq:queue", "priority": 0, "unique_key": None, "headers": {},
    })  # fmt: skip

    id: UUID
    name: str
    state: TaskState
    args: dict[str, Any]
    result: Any
    progress: dict[str, Any] | None
    errors: list[TaskError]
    user_id: str | None
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    attempt: int
    tries: int
    queue: str
    priority: int
    unique_key: str | None
    headers: dict[str, str]


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = Field(
        None, description="What is wrong with the request: `loc`, `msg` and `type` of each fault."
    )
