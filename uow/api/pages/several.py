"""Acting on the tasks that somebody has picked in a list."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Form, HTTPException, Request, Response

from uow.acts.named import ActName
from uow.acts.several import MOST, act_on_each
from uow.api.pages.acting import PageActor, Reason, words_of
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.pages.shell_lines import worker_line
from uow.api.pages.task_acts import MEANINGS
from uow.api.pages.task_lines import WORDS
from uow.api.routers.acts import ActsDep

router = page_router()

Priority = Annotated[int | None, Form()]
Words = Annotated[list[str] | None, Form()]
"""Of the filter of the list that an act was asked for in, each as ``word=value``."""


@router.post("/tasks/act")
async def act_on_selected(
    request: Request,
    acts: ActsDep,
    by: PageActor,
    act: Annotated[ActName, Form()],
    task: Annotated[list[UUID] | None, Form()] = None,
    word: Words = None,
    priority: Priority = None,
    reason: Reason = "",
    sure: Annotated[bool, Form()] = False,
) -> Response:
    """Does it to each, and shows what was done; what cannot be undone asks first."""
    ids, words = task or [], words_of(word)
    if not ids or len(ids) > MOST:
        raise HTTPException(422, f"Go back and select some tasks: 1 to {MOST} of them at once.")
    shown: dict[str, Any] = {
        "act": act, "word": WORDS[act], "words": words, "reason": reason, "priority": priority,
        "meaning": MEANINGS[act],
    }  # fmt: skip
    if act == "delete" and not sure:
        return render(request, "sure.html", title="Delete?", ids=ids, **shown)
    options = {"priority": priority} if act == "priority" and priority is not None else {}
    found = await act_on_each(acts, act, ids, by, options=options, reason=reason)
    line = worker_line("tasks", act, *map(str, ids), to=options.get("priority"), reason=reason)
    return render(
        request, "acted.html", title=f"{WORDS[act]}: {len(found.done)} done", found=found,
        lines=[line], **shown,
    )  # fmt: skip
