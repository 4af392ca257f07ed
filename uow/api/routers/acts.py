"""Act on one task. Done: 204. Left alone: a problem that says why."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, HTTPException, Query

from uow.acts.left import LeftAlone, Why
from uow.acts.single import Acts
from uow.api.act_schemas import ActAsked, PriorityAsked, Reason, RetryAsked
from uow.api.deps import ClientDep, RedactionDep, RegistryDep
from uow.api.once import AnsweringRoute, OnceActorDep

router = APIRouter(prefix="/api/tasks", tags=["acts"], route_class=AnsweringRoute)


def get_acts(client: ClientDep, registry: RegistryDep, redaction: RedactionDep) -> Acts:
    """The acts on single tasks."""
    return Acts(client, registry, redaction)


ActsDep = Annotated[Acts, Depends(get_acts)]
Asked = Annotated[ActAsked | None, Body()]


@router.post("/{task_id}/cancel", status_code=204)
async def cancel_one(task_id: UUID, acts: ActsDep, by: OnceActorDep, asked: Asked = None) -> None:
    """Cancel a task, at once and for good. A conflict if it is settled already."""
    _refuse(await acts.cancel(task_id, by, asked.reason if asked else None))


@router.post("/{task_id}/retry", status_code=204)
async def retry_one(
    task_id: UUID,
    acts: ActsDep,
    by: OnceActorDep,
    asked: Annotated[RetryAsked | None, Body()] = None,
) -> None:
    """Run a failed or cancelled task again, with all its tries; with other arguments, if given.

    Edited arguments are checked against the task function's signature; they are refused where the
    function is not known.
    """
    asked = asked or RetryAsked()
    _refuse(await acts.retry(task_id, by, asked.reason, args=asked.args))


@router.post("/{task_id}/run-now", status_code=204)
async def run_one_now(task_id: UUID, acts: ActsDep, by: OnceActorDep, asked: Asked = None) -> None:
    """Let a scheduled or retrying task be due. A conflict if it is, runs, or is settled."""
    _refuse(await acts.run_now(task_id, by, asked.reason if asked else None))


@router.post("/{task_id}/priority", status_code=204)
async def prioritize_one(
    task_id: UUID, acts: ActsDep, by: OnceActorDep, asked: PriorityAsked
) -> None:
    """Give an unsettled task another priority, from its next delivery on."""
    _refuse(await acts.set_priority(task_id, asked.priority, by, asked.reason))


@router.delete("/{task_id}", status_code=204)
async def delete_one(
    task_id: UUID,
    acts: ActsDep,
    by: OnceActorDep,
    reason: Annotated[Reason, Query()] = None,
) -> None:
    """Remove a settled task, its errors and what the audit has of its arguments."""
    _refuse(await acts.delete(task_id, by, reason))


def _refuse(left: LeftAlone | None) -> None:
    if left is None:
        return
    if left.why is Why.NOT_THERE:
        raise HTTPException(404, f"Task id {left.id} not found")
    raise HTTPException(409, f"Task id {left.id} was left alone: {left.text}")
