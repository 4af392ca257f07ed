"""One task: why it waits, how it went, and what can be done to it."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from fastapi import HTTPException, Request, Response
from fastapi.encoders import jsonable_encoder

from uow.acts.actor import Actor
from uow.acts.named import ActName
from uow.acts.revealing import note_reveal
from uow.api.deps import ClientDep, DatabaseDep, RedactionDep, SettingsDep
from uow.api.pages.acting import PageActor, what_was_done
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.pages.task_lines import lines_of
from uow.clock import utcnow
from uow.db.database import Database
from uow.db.models import TaskState
from uow.errors import SettingsError
from uow.questions.one_task import OneTask, look_at, look_at_with_acts
from uow.questions.redaction import REDACTED, Redaction
from uow.questions.why import why
from uow.tasks.options import MAX_PRIORITY
from uow.tasks.registry import Registry

router = page_router()

NOTHING_REDACTED: Final = Redaction((), Registry())

_AGAIN: Final = frozenset({TaskState.FAILED, TaskState.CANCELLED})


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Why a task is where it is.

    Attributes:
        reason: Its name, the same for ever.
    """

    reason: str
    text: str


def acts_for(task: OneTask) -> list[ActName]:
    """What may be done to a task as it stands: what its guard would let pass."""
    if task.state.settled:
        return ["retry", "delete"] if task.state in _AGAIN else ["delete"]
    waits = task.state is not TaskState.RUNNING and task.run_at > utcnow()
    return ["run-now", "priority", "cancel"] if waits else ["priority", "cancel"]


@router.get("/tasks/{task_id}")
async def show_task(
    task_id: str,
    request: Request,
    db: DatabaseDep,
    client: ClientDep,
    settings: SettingsDep,
    redaction: RedactionDep,
) -> Response:
    """A task as it stands."""
    looked = None if (id_ := id_of(task_id)) is None else await look_at_with_acts(
        db, id_, redaction
    )  # fmt: skip
    if looked is None:
        raise not_found(task_id)
    task, noted = looked
    waiting = None
    if not task.state.settled:
        try:
            said = await why(db, client.redis, settings, task.id)
            waiting = WaitingFor(said.name, said.text)
        except SettingsError as error:  # the page is there without it
            waiting = WaitingFor("unknown", str(error))
    return render(
        request, "task.html", title=f"{task.name} {task.id}", task=task, waiting=waiting,
        acts=acts_for(task), noted=noted,
        redacted=_is_redacted(task), did=what_was_done(request), most_priority=MAX_PRIORITY,
        lines=lines_of(request, task.id),
    )  # fmt: skip


@router.post("/tasks/{task_id}/reveal")
async def reveal_task(
    task_id: str, request: Request, db: DatabaseDep, by: PageActor, redaction: RedactionDep
) -> Response:
    """What is redacted in a task; that somebody has looked is in the audit."""
    hidden = await found(db, task_id, redaction)
    task = await _revealed(db, hidden.id, by)
    return render(request, "revealed.html", title=f"{task.name}, revealed", task=task)


async def _revealed(db: Database, task_id: UUID, by: Actor) -> OneTask:
    await note_reveal(db, task_id, by)
    return await found(db, str(task_id), NOTHING_REDACTED)


async def found(db: Database, given: str, redaction: Redaction) -> OneTask:
    """The task of an id.

    Raises:
        HTTPException: 404, there is none, or not any more.
    """
    task = None
    if (task_id := id_of(given)) is not None:
        task = await look_at(db, task_id, redaction)
    if task is None:
        raise not_found(given)
    return task


def not_found(given: str) -> HTTPException:
    """That there is no such task."""
    return HTTPException(
        404, f"There is no task {given[:80]}: it was never asked for, was deleted, or its "
        "retention is over.",
    )  # fmt: skip


def id_of(given: str) -> UUID | None:
    """The id that a text is; None: it is none."""
    try:
        return UUID(given)
    except ValueError:
        return None


def _is_redacted(task: OneTask) -> bool:
    shown = jsonable_encoder([task.args, task.result, task.progress, dict(task.origin.headers)])
    return has_redacted(shown)


def has_redacted(value: object) -> bool:
    """Whether something in a JSON value is not shown."""
    match value:
        case dict():
            return any(has_redacted(one) for one in value.values())
        case list():
            return any(has_redacted(one) for one in value)
    return value == REDACTED
