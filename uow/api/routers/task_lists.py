"""Lists of tasks, and one task with all there is of it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import BaseModel

from uow.acts.revealing import note_reveal
from uow.api.access import RevealDep
from uow.api.actor import ActorDep
from uow.api.deps import DatabaseDep, RedactionDep
from uow.api.once import AnsweringRoute
from uow.api.task_schemas import TASK_IN_FULL, TASK_LIST, TaskInFull, TaskList
from uow.db.listing import Direction
from uow.questions.filters import WORDS, TaskFilter
from uow.questions.lists import MOST, TaskLists
from uow.questions.one_task import look_at
from uow.questions.redaction import Redaction
from uow.tasks.registry import Registry

router = APIRouter(prefix="/api/tasks", tags=["tasks"], route_class=AnsweringRoute)

NOTHING_REDACTED = Redaction((), Registry())

OF_THE_PAGE = {"limit", "order", "after", "before"}
"""Parameters of a list that say nothing of which tasks are meant."""

_DESCRIPTIONS = {
    "state": "One or several states, separated by commas.",
    "name": "Of the task function; `billing.*`: all that begin with `billing.`",
    "user": "Whose it is.",
    "since": "Asked for at this moment or later: `2030-01-31T12:00Z`, `12h`, `3d`.",
    "until": "Asked for before this moment.",
    "settled-since": "Settled at this moment or later.",
    "settled-until": "Settled before this moment.",
    "error": "The type of an error of an attempt; the list is in the order of the errors.",
    "worker": "The process of its last attempt.",
    "arg": "An argument, as `key=value`; `arg:key=value` as a parameter means the same.",
    "schedule": "That has asked for it; the list is in the order of its ticks.",
}


def _documented() -> list[dict[str, Any]]:
    return [
        {
            "name": word, "in": "query", "required": False, "schema": {"type": "string"},
            "description": _DESCRIPTIONS.get(word, ""),
        }
        for word in WORDS
    ]  # fmt: skip


def example_of(example: object) -> dict[int | str, dict[str, Any]]:
    """The documentation of an answer that is this, for instance."""
    return {200: {"content": {"application/json": {"example": example}}}}


@router.get(
    "",
    response_model=TaskList,
    responses=example_of(TASK_LIST) | {304: {"description": "It is what `If-None-Match` names."}},
    openapi_extra={"parameters": _documented()},
)
async def list_tasks(
    request: Request,
    db: DatabaseDep,
    redaction: RedactionDep,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    order: Direction = "newest",
    after: str | None = None,
    before: str | None = None,
) -> Response:
    """Tasks that fit every word of the filter, the newest first.

    Exact, or with how far was looked; `next` goes on there.
    """
    page = await TaskLists(db, redaction).page(
        filter_in(request), limit=limit, order=order, after=after, before=before
    )
    return _json(TaskList.model_validate(page, from_attributes=True))


@router.get("/{task_id}", response_model=TaskInFull, responses=example_of(TASK_IN_FULL))
async def show_task(
    task_id: UUID,
    db: DatabaseDep,
    redaction: RedactionDep,
    reveals: RevealDep,
    by: ActorDep,
) -> Response:
    """One task: arguments and result, each attempt with its error, and a timeline."""
    if reveals:
        await note_reveal(db, task_id, by)
        redaction = NOTHING_REDACTED
    found = await look_at(db, task_id, redaction)
    if found is None:
        raise HTTPException(404, f"Task id {task_id} not found")
    return _json(TaskInFull.model_validate(found, from_attributes=True))


def filter_in(request: Request) -> TaskFilter:
    """The filter in a query string.

    Raises:
        InvalidFilter: A word is unknown, or a value does not fit.
    """
    given = request.query_params.multi_items()
    words = [(word, value) for word, value in given if word not in OF_THE_PAGE]
    return TaskFilter.read(words)


def _json(answer: BaseModel) -> Response:
    """It is what it is to be: FastAPI would check and build it once more."""
    return Response(answer.model_dump_json(), media_type="application/json")
