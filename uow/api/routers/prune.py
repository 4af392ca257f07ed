"""Remove what retention has ended for, without waiting for the leader."""

from typing import Annotated

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from uow.acts.pruning import prunable, prune_for
from uow.api.act_schemas import Reason
from uow.api.deps import ClientDep
from uow.api.once import AnsweringRoute, OnceActorDep

router = APIRouter(prefix="/api/prune", tags=["acts"], route_class=AnsweringRoute)

LONGEST_SECONDS = 20.0
"""After which no batch is begun: whoever asks, and proxies in between, wait no longer."""


class PruneAsked(BaseModel):
    """Whether to do it, and why."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True,
        json_schema_extra={"examples": [{"dry_run": True}]},
    )  # fmt: skip

    dry_run: bool = Field(False, description="Count alone, up to 10,000; nothing is removed.")
    reason: Reason = None


class PruneAnswer(BaseModel):
    """What was removed, or would be."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"dry_run": True, "tasks": 412, "more": False}]}
    )

    dry_run: bool
    tasks: int = Field(description="How many were removed, or would be.")
    more: bool = Field(description="There is more: ask again; the leader removes it, too.")


@router.post("")
async def prune(
    client: ClientDep, by: OnceActorDep, asked: Annotated[PruneAsked | None, Body()] = None
) -> PruneAnswer:
    """Remove every settled task whose retention has ended, for 20 s at most.

    As ever, one whose job may be in Redis stays, and so does the last task of a schedule.
    """
    asked = asked or PruneAsked(dry_run=False)
    if asked.dry_run:
        found = await prunable(client)
    else:
        found = await prune_for(client, by, LONGEST_SECONDS, asked.reason)
    return PruneAnswer(dry_run=asked.dry_run, tasks=found.tasks, more=found.more)
