"""Acts on all tasks that fit a filter: looked at first, then confirmed, followed and stopped."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import Form, Request, Response

from uow.acts.bulk import BulkView
from uow.acts.left import TEXTS, Why
from uow.acts.named import ActName
from uow.api.actor import LONGEST_KEY
from uow.api.pages.acting import PageActor, Reason, done, what_was_done, words_of
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.pages.several import Priority, Words
from uow.api.pages.shell_lines import curl_line, filter_options, worker_line
from uow.api.pages.task import id_of
from uow.api.pages.task_acts import MEANINGS
from uow.api.pages.task_lines import WORDS
from uow.api.routers.bulk import BulkActsDep
from uow.errors import BulkActNotFound
from uow.questions.filters import TaskFilter

router = page_router()


@router.get("/bulk")
async def list_bulk(request: Request, acts: BulkActsDep) -> Response:
    """The newest of them."""
    return render(request, "bulk_acts.html", title="Bulk acts", found=await acts.newest())


@router.post("/bulk/preview")
async def preview_bulk(
    request: Request,
    acts: BulkActsDep,
    by: PageActor,
    act: Annotated[ActName, Form()],
    word: Words = None,
    priority: Priority = None,
    reason: Reason = "",
) -> Response:
    """Looks at what it would be done to; leads to where that is shown, and can be confirmed."""
    which = TaskFilter.read(words_of(word))
    options = {"priority": priority} if act == "priority" and priority is not None else {}
    view = await acts.preview(act, which, by, options=options, reason=reason)
    return done(request, f"/ui/bulk/{view.row.id}", "preview")


@router.get("/bulk/{bulk_id}")
async def show_bulk(bulk_id: str, request: Request, acts: BulkActsDep) -> Response:
    """A bulk act as it stands."""
    return _shown(request, await acts.get(_id(bulk_id)))


@router.post("/bulk/{bulk_id}/confirm")
async def confirm_bulk(
    bulk_id: str,
    request: Request,
    acts: BulkActsDep,
    by: PageActor,
    key: Annotated[str, Form(max_length=LONGEST_KEY)],
) -> Response:
    """Lets the leader run it; sent twice, it is done once."""
    view = await acts.confirm(_id(bulk_id), by, key)
    return done(request, f"/ui/bulk/{view.row.id}", "confirm")


@router.post("/bulk/{bulk_id}/stop")
async def stop_bulk(
    bulk_id: str, request: Request, acts: BulkActsDep, by: PageActor, reason: Reason = ""
) -> Response:
    """Ends it before its next batch."""
    view = await acts.stop(_id(bulk_id), by, reason)
    return done(request, f"/ui/bulk/{view.row.id}", "stop")


def _shown(request: Request, view: BulkView) -> Response:
    row = view.row
    return render(
        request, "bulk.html", title=f"Bulk act: {row.act}", view=view, row=row,
        word=WORDS.get(row.act, row.act), meaning=MEANINGS.get(row.act, ""),
        words=list(row.filter.items()), left=_left(view), key=str(uuid4()),
        did=what_was_done(request), lines=_lines(request, view),
    )  # fmt: skip


def _left(view: BulkView) -> list[tuple[str, int, list[str]]]:
    """What was left alone: why, how many, and the first of them."""
    return [
        (TEXTS[Why(why)] if why in {*Why} else why, said["count"], said["ids"])
        for why, said in view.row.left_alone.items()
    ]


def _lines(request: Request, view: BulkView) -> list[str]:
    row = view.row
    words = [*row.filter.items()]
    to = row.options.get("priority")
    body = {
        "act": row.act, "filter": dict(words), "priority": to, "reason": row.reason,
    }  # fmt: skip
    return [
        worker_line(
            "tasks", row.act, *filter_options(words), "--yes", to=to, reason=row.reason
        ),
        curl_line(request, "POST", "/api/bulk/preview", body),
        curl_line(request, "POST", "/api/bulk", {"id": str(row.id)}),
    ]  # fmt: skip


def _id(given: str) -> UUID:
    """Of a bulk act.

    Raises:
        BulkActNotFound: It can be none.
    """
    found = id_of(given)
    if found is None:
        raise BulkActNotFound(f"Bulk act {given[:80]} not found")
    return found
