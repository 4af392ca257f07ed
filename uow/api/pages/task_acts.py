"""Acting on one task: each act has a page that says what it does and asks for a reason."""

import json
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Form, HTTPException, Request, Response

from uow.acts.left import LeftAlone
from uow.acts.named import ActName
from uow.acts.single import Acts
from uow.api.deps import DatabaseDep, RedactionDep
from uow.api.pages.acting import PageActor, Reason, done
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.pages.task import found, has_redacted
from uow.api.pages.task_lines import WORDS, FilledIn, act_lines
from uow.api.problems import http_error_of
from uow.api.routers.acts import ActsDep
from uow.db.database import Database
from uow.errors import InvalidArguments, WorkerError
from uow.questions.one_task import OneTask
from uow.questions.redaction import REDACTED, Redaction
from uow.tasks.options import MAX_PRIORITY

router = page_router()

MEANINGS: Final = {
    "cancel": "It is settled as cancelled, at once, also while it runs: what its attempt has not "
    "committed is rolled back.",
    "retry": "It runs again, with all its tries.",
    "run-now": "It is due at once, and waits for its time no longer.",
    "priority": "0 to 9, higher runs first; it counts from its next delivery on.",
    "delete": "Its row is removed, with its errors and what the audit has of its arguments. This "
    "cannot be undone.",
}
"""What each does, for who hesitates."""


@router.get("/tasks/{task_id}/{act}")
async def ask_to_act(
    task_id: str,
    act: ActName,
    request: Request,
    db: DatabaseDep,
    redaction: RedactionDep,
    edit: bool = False,
) -> Response:
    """Asks before an act."""
    task = await found(db, task_id, redaction)
    args = _text_of(task.args) if edit and act == "retry" else None
    return _asking(request, task, act, FilledIn(priority=task.priority, args=args))


@router.post("/tasks/{task_id}/{act}")
async def act_on_task(
    task_id: str,
    act: ActName,
    request: Request,
    db: DatabaseDep,
    redaction: RedactionDep,
    acts: ActsDep,
    by: PageActor,
    reason: Reason = "",
    priority: Annotated[int | None, Form()] = None,
    edit: Annotated[bool, Form()] = False,
    args: Annotated[str, Form()] = "",
) -> Response:
    """Does it, and leads back; or says why the task was left alone."""
    task = await found(db, task_id, redaction)
    asked = FilledIn(reason, priority, args if edit and act == "retry" else None)
    try:
        left = await _act(acts, act, task.id, by, asked)
    except WorkerError as error:
        told = http_error_of(error)
        if told is None:
            raise
        return _asking(request, task, act, asked, told)
    if left is None:
        return done(request, "/ui/tasks" if act == "delete" else f"/ui/tasks/{task.id}", act)
    return await _left(request, db, redaction, left, act, asked)


async def _act(
    acts: Acts, act: ActName, task_id: UUID, by: PageActor, asked: FilledIn
) -> LeftAlone | None:
    if act == "retry" and asked.args is not None:
        return await acts.retry(task_id, by, asked.reason, args=_object(asked.args))
    options = asked.options if act == "priority" else {}
    return await acts.named(act, task_id, by, asked.reason, options=options)


async def _left(
    request: Request,
    db: Database,
    redaction: Redaction,
    left: LeftAlone,
    act: ActName,
    asked: FilledIn,
) -> Response:
    """With the task as it is now: somebody else has decided meanwhile."""
    task = await found(db, str(left.id), redaction)
    return _asking(request, task, act, asked, HTTPException(409, f"Left alone: {left.text}."))


def _asking(
    request: Request,
    task: OneTask,
    act: ActName,
    asked: FilledIn,
    problem: HTTPException | None = None,
) -> Response:
    return render(
        request, "act.html", status=200 if problem is None else problem.status_code,
        headers=None if problem is None else problem.headers,
        title=f"{WORDS[act]}: {task.name}", task=task, act=act, word=WORDS[act],
        meaning=MEANINGS[act], asked=asked, problem=problem, most_priority=MAX_PRIORITY,
        lines=act_lines(request, act, task.id, asked),
    )  # fmt: skip


def _text_of(args: Any) -> str:
    return json.dumps(args, indent=2, ensure_ascii=False)


def _object(given: str) -> dict[str, Any]:
    try:
        value = json.loads(given)
        is_hidden = has_redacted(value)
    except RecursionError:
        raise InvalidArguments("that is no JSON, or nested too deeply") from None
    except ValueError as error:
        raise InvalidArguments(f"that is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArguments('that is no JSON object, as {"order_id": 8}')
    if is_hidden:
        raise InvalidArguments(
            f"{REDACTED} stands in the place of a value that is not shown: write the value there, "
            "or retry without editing"
        )
    return value
