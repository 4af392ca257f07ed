"""Why a task waits, and the workers there are."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from uow.api.deps import ClientDep, DatabaseDep, SettingsDep
from uow.api.once import AnsweringRoute
from uow.questions.why import why
from uow.questions.workers import fleet

router = APIRouter(prefix="/api", tags=["fleet"], route_class=AnsweringRoute)

_EXAMPLE_WORKER: JsonDict = {
    "id": "web-1:4711:9f3c1a",
    "host": "web-1",
    "pid": 4711,
    "version": "1.0.0",
    "app": "shop",
    "queues": ["arq:queue", "mail"],
    "slots": 10,
    "busy": 1,
    "running": [
        {
            "id": "01944a2e-3c5b-7d10-8000-2f1c0a9b7e55",
            "name": "mail.send",
            "attempt": 1,
            "since": "2030-01-31T12:00:00Z",
        }
    ],
    "lag": 0.0,
    "pool_busy": 1,
    "pool_idle": 3,
    "pool_room": 10,
    "started_at": "2030-01-31T08:00:00Z",
    "heartbeat_age": 0.4,
    "lives": True,
    "leaving": False,
    "leads": True,
}


class WhyAnswer(BaseModel):
    """Why a task is where it is: a name for programs, a line for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "reason": "in_front",
                "text": "214 tasks are in front of it in queue 'mail'",
            }
        }
    )

    reason: str
    text: str


class AttemptAnswer(BaseModel):
    """What a worker runs, and since when."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    attempt: int
    since: datetime


class WorkerAnswer(BaseModel):
    """One worker process. What is null is not known: a worker of an older version does not say it.

    `lag` is in seconds: the worst of the last minute for which its event loop did not turn.
    """

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _EXAMPLE_WORKER})

    id: str
    host: str | None
    pid: int | None
    version: str | None
    app: str
    queues: list[str]
    slots: int | None
    busy: int | None
    running: list[AttemptAnswer]
    lag: float | None
    pool_busy: int | None
    pool_idle: int | None
    pool_room: int | None
    started_at: datetime
    heartbeat_age: float
    lives: bool
    leaving: bool
    leads: bool


class WorkersAnswer(BaseModel):
    """The worker processes, by name; the first 1,000, with the first 5,000 tasks that they run."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"example": {"workers": [_EXAMPLE_WORKER], "capped": False}},
    )

    workers: list[WorkerAnswer]
    capped: bool = Field(description="There are more workers or tasks, which are not shown.")


@router.get("/tasks/{task_id}/why")
async def why_it_waits(
    task_id: UUID, db: DatabaseDep, client: ClientDep, settings: SettingsDep
) -> WhyAnswer:
    """Why a task waits: the first reason of a closed list that is true now."""
    reason = await why(db, client.redis, settings, task_id)
    return WhyAnswer(reason=reason.name, text=reason.text)


@router.get("/workers")
async def list_workers(db: DatabaseDep, settings: SettingsDep) -> WorkersAnswer:
    """The worker processes of the fleet, and what each runs since when."""
    return WorkersAnswer.model_validate(await fleet(db, settings.dead_after))
