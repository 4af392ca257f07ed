"""Act on all tasks that a filter means: preview, confirm, follow, stop."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends

from uow.acts.bulk import BulkActs
from uow.api.act_schemas import ActAsked, BulkActShown, ConfirmAsked, PreviewAsked
from uow.api.deps import ClientDep
from uow.api.once import AnsweringRoute, OnceActorDep
from uow.questions.filters import TaskFilter

router = APIRouter(prefix="/api/bulk", tags=["acts"], route_class=AnsweringRoute)


def get_bulk_acts(client: ClientDep) -> BulkActs:
    """The bulk acts."""
    return BulkActs(client)


BulkActsDep = Annotated[BulkActs, Depends(get_bulk_acts)]


@router.post("/preview")
async def preview_bulk(asked: PreviewAsked, acts: BulkActsDep, by: OnceActorDep) -> BulkActShown:
    """What an act would be done to: how many tasks, and five of them. It changes nothing.

    To do it, confirm its id within 15 minutes. What is asked for, or settled, afterwards is not
    meant. A filter without a state means the states that the act is for.
    """
    which = TaskFilter.read(asked.filter.items())
    options = {} if asked.priority is None else {"priority": asked.priority}
    return BulkActShown.of(
        await acts.preview(asked.act, which, by, options=options, reason=asked.reason)
    )


@router.post("", status_code=202)
async def confirm_bulk(asked: ConfirmAsked, acts: BulkActsDep, by: OnceActorDep) -> BulkActShown:
    """Do what was previewed: the leader runs it, in batches.

    With an `Idempotency-Key` it can be asked for again, and is done once.
    """
    key = None if by.once is None else by.once.key
    return BulkActShown.of(await acts.confirm(asked.id, by, key))


@router.get("/{bulk_id}")
async def show_bulk(bulk_id: UUID, acts: BulkActsDep) -> BulkActShown:
    """How far a bulk act is, what it was done to, what it left alone and why."""
    return BulkActShown.of(await acts.get(bulk_id))


@router.post("/{bulk_id}/stop")
async def stop_bulk(
    bulk_id: UUID,
    acts: BulkActsDep,
    by: OnceActorDep,
    asked: Annotated[ActAsked | None, Body()] = None,
) -> BulkActShown:
    """End a bulk act before its next batch. What was done stays done."""
    return BulkActShown.of(await acts.stop(bulk_id, by, asked.reason if asked else None))
