"""Pausing and going on, from the pages of queues, task functions and users."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Form, HTTPException, Query, Request, Response
from starlette.responses import RedirectResponse

from uow.acts import pauses
from uow.acts.pauses import Pausable
from uow.api.deps import DatabaseDep
from uow.api.pages.acting import SEE_OTHER, PageActor, Reason, done
from uow.api.pages.loads import LoadPages, LoadPagesDep, NotDone
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import Links, segment
from uow.api.routers.numbers import WITHOUT_NUL
from uow.db.pauses import Kind
from uow.errors import InvalidFilter, InvalidOptions
from uow.questions.moments import moment_ahead

router = page_router()

Target = Annotated[str, Query(max_length=500, pattern=WITHOUT_NUL)]
Until = Annotated[str, Form(max_length=80)]


@router.get("/pause")
@router.get("/resume")
async def lead_back(request: Request, kind: Kind = "everything", target: Target = "") -> Response:
    """To the page of what was to be paused, for who loads again what an act has shown."""
    link = Links(request.scope.get("root_path", ""))
    return RedirectResponse(link(page_about(kind, target)), SEE_OTHER)


@router.post("/pause")
async def pause(
    request: Request,
    pages: LoadPagesDep,
    db: DatabaseDep,
    by: PageActor,
    kind: Kind,
    target: Target = "",
    reason: Reason = "",
    until: Until = "",
) -> Response:
    """Pauses, until somebody resumes or a moment comes; or says what of that is no moment."""
    try:
        what = Pausable(kind, target)
        end = moment_ahead("until", until, datetime.now(UTC)) if until.strip() else None
        await pauses.pause(db, what, by, reason=reason.strip() or None, until=end)
    except (InvalidFilter, InvalidOptions) as error:
        fault = NotDone(str(error), 422, reason, until)
        return await _refused(request, pages, kind, target, fault)
    return done(request, page_about(kind, target), "pause")


@router.post("/resume")
async def resume(
    request: Request,
    pages: LoadPagesDep,
    db: DatabaseDep,
    by: PageActor,
    kind: Kind,
    target: Target = "",
    reason: Reason = "",
) -> Response:
    """Ends a pause; or says that there is none."""
    try:
        what = Pausable(kind, target)
        resumed = await pauses.resume(db, what, by, reason=reason.strip() or None)
    except InvalidOptions as error:
        return await _refused(request, pages, kind, target, NotDone(str(error), 422))
    if not resumed:
        return await _refused(request, pages, kind, target, NotDone(f"{what} is not paused.", 409))
    return done(request, page_about(kind, target), "resume")


def page_about(kind: Kind, target: str) -> str:
    """The path of the page on which something is paused."""
    return "/ui/queues" if kind == "everything" else f"/ui/{kind}s/{segment(target)}"


async def _refused(
    request: Request, pages: LoadPages, kind: Kind, target: str, fault: NotDone
) -> Response:
    """The page again with why it was not done."""
    if kind in ("queue", "name") and target:
        return await pages.one("queue" if kind == "queue" else "name", target, fault)
    if kind == "everything":
        return await pages.all("queue", fault)
    raise HTTPException(fault.status, fault.text)
