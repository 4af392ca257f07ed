"""Pause a queue, a task function, a user or everything; and what is paused."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from uow.acts import pauses
from uow.acts.actor import Actor
from uow.acts.pauses import Pausable
from uow.api.deps import DatabaseDep
from uow.api.once import AnsweringRoute, OnceActorDep
from uow.clock import utcnow
from uow.db.database import Database
from uow.db.pauses import Kind
from uow.db.pauses import pauses as read_pauses
from uow.questions.moments import moment_ahead

router = APIRouter(prefix="/api", tags=["pauses"], route_class=AnsweringRoute)

Target = Annotated[str, Path(min_length=1, max_length=500)]


_PAUSE: JsonDict = {
    "kind": "queue", "target": "mail", "reason": "the partner is down", "paused_by": "ann",
    "paused_at": "2030-01-31T12:00:00Z", "until": None,
}  # fmt: skip


class NewPause(BaseModel):
    """Why, and until when."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "the partner is down", "until": "2h"}]},
    )

    reason: str | None = Field(None, max_length=500)
    until: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="A moment, as 2030-01-31T12:00Z, or how long from now, as 2h."
    )


class ResumedWhy(BaseModel):
    """Why it goes on."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "the partner is back"}]}
    )

    reason: str | None = Field(None, max_length=500)


class ShownPause(BaseModel):
    """A pause that holds."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_PAUSE]})

    kind: Kind
    target: str
    reason: str | None
    paused_by: str
    paused_at: AwareDatetime
    until: AwareDatetime | None


@router.get("/pauses")
async def list_pauses(db: DatabaseDep) -> list[ShownPause]:
    """What is paused, the oldest first."""
    return [ShownPause.model_validate(one) for one in await read_pauses(db)]


@router.post("/everything/pause", status_code=204)
async def pause_everything(db: DatabaseDep, by: OnceActorDep, new: NewPause | None = None) -> None:
    """Claim nothing from any queue; what runs goes on to its end."""
    await _pause(db, Pausable("everything"), by, new)


@router.post("/everything/resume", status_code=204)
async def resume_everything(
    db: DatabaseDep, by: OnceActorDep, why: ResumedWhy | None = None
) -> None:
    """End the pause of everything; a conflict if there is none."""
    await _resume(db, Pausable("everything"), by, why)


@router.post("/queues/{queue:path}/pause", status_code=204)
async def pause_queue(
    queue: Target, db: DatabaseDep, by: OnceActorDep, new: NewPause | None = None
) -> None:
    """Claim nothing from a queue; what runs goes on to its end."""
    await _pause(db, Pausable("queue", queue), by, new)


@router.post("/queues/{queue:path}/resume", status_code=204)
async def resume_queue(
    queue: Target, db: DatabaseDep, by: OnceActorDep, why: ResumedWhy | None = None
) -> None:
    """End the pause of a queue; a conflict if there is none."""
    await _resume(db, Pausable("queue", queue), by, why)


@router.post("/names/{name:path}/pause", status_code=204)
async def pause_name(
    name: Target, db: DatabaseDep, by: OnceActorDep, new: NewPause | None = None
) -> None:
    """Start no task of a function; what runs goes on to its end."""
    await _pause(db, Pausable("name", name), by, new)


@router.post("/names/{name:path}/resume", status_code=204)
async def resume_name(
    name: Target, db: DatabaseDep, by: OnceActorDep, why: ResumedWhy | None = None
) -> None:
    """End the pause of a function; a conflict if there is none."""
    await _resume(db, Pausable("name", name), by, why)


@router.post("/users/{user:path}/pause", status_code=204)
async def pause_user(
    user: Target, db: DatabaseDep, by: OnceActorDep, new: NewPause | None = None
) -> None:
    """Start no task of a user; what runs goes on to its end."""
    await _pause(db, Pausable("user", user), by, new)


@router.post("/users/{user:path}/resume", status_code=204)
async def resume_user(
    user: Target, db: DatabaseDep, by: OnceActorDep, why: ResumedWhy | None = None
) -> None:
    """End the pause of a user; a conflict if there is none."""
    await _resume(db, Pausable("user", user), by, why)


async def _pause(db: Database, what: Pausable, by: Actor, new: NewPause | None) -> None:
    new = new or NewPause()
    until = None if new.until is None else moment_ahead("until", new.until, utcnow())
    await pauses.pause(db, what, by, reason=new.reason, until=until)


async def _resume(db: Database, what: Pausable, by: Actor, why: ResumedWhy | None) -> None:
    if not await pauses.resume(db, what, by, reason=None if why is None else why.reason):
        raise HTTPException(409, f"{what} is not paused")
