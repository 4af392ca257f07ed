"""Users: whose the newest tasks are, and one user's tasks, share, backlog and pause."""

from typing import Annotated

from fastapi import Form, HTTPException, Path, Query, Request, Response
from starlette.responses import RedirectResponse

from uow.acts import pauses
from uow.acts.pauses import Pausable
from uow.api.deps import DatabaseDep, RedactionDep
from uow.api.pages.acting import SEE_OTHER, PageActor, Reason, done, what_was_done
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import Links, render, segment
from uow.api.pages.shell_lines import curl_line, worker_line
from uow.clock import utcnow
from uow.db.database import Database
from uow.db.models import TaskState
from uow.db.pauses import pauses as read_pauses
from uow.errors import InvalidFilter, InvalidOptions
from uow.names import LONGEST_TEXT, is_storable
from uow.questions.filters import TaskFilter
from uow.questions.lists import TaskLists
from uow.questions.moments import moment_ahead
from uow.questions.redaction import Redaction
from uow.questions.user import user_numbers
from uow.questions.users import newest_users_of

router = page_router()

User = Annotated[str, Path(max_length=LONGEST_TEXT)]

MOST_USERS = 100
"""Of the list of users."""

SHOWN = 20
"""Tasks of the user on the page."""


@router.get("/users")
async def list_users(
    request: Request, db: DatabaseDep, user: Annotated[str, Query(max_length=LONGEST_TEXT)] = ""
) -> Response:
    """Whose the newest tasks are; and a form that leads to any user."""
    if user:
        link = Links(request.scope.get("root_path", ""))
        return RedirectResponse(link(_path(user)), SEE_OTHER)
    found = await newest_users_of(db)
    return render(request, "users.html", title="Users", found=found, shown=found.users[:MOST_USERS])


@router.get("/users/{user:path}")
async def show_user(
    user: User, request: Request, db: DatabaseDep, redaction: RedactionDep
) -> Response:
    """A user's numbers and newest tasks."""
    return await _shown(request, db, redaction, user)


@router.post("/users/{user:path}/pause")
async def pause_user(
    user: User,
    request: Request,
    db: DatabaseDep,
    redaction: RedactionDep,
    by: PageActor,
    reason: Reason = "",
    until: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Starts no task of the user's until somebody resumes, or until a moment."""
    try:
        end = moment_ahead("until", until, utcnow()) if until else None
        await pauses.pause(db, Pausable("user", user), by, reason=reason, until=end)
    except (InvalidFilter, InvalidOptions) as error:
        refusal = HTTPException(422, str(error))
        return await _shown(request, db, redaction, user, refusal, given=(reason, until))
    return done(request, _path(user), "pause")


@router.post("/users/{user:path}/resume")
async def resume_user(
    user: User,
    request: Request,
    db: DatabaseDep,
    redaction: RedactionDep,
    by: PageActor,
    reason: Reason = "",
) -> Response:
    """Ends the pause of the user."""
    if not await pauses.resume(db, Pausable("user", user), by, reason=reason):
        refusal = HTTPException(409, "The user is not paused.")
        return await _shown(request, db, redaction, user, refusal)
    return done(request, _path(user), "resume")


async def _shown(
    request: Request,
    db: Database,
    redaction: Redaction,
    user: str,
    problem: HTTPException | None = None,
    given: tuple[str, str] = ("", ""),
) -> Response:
    if not is_storable(user):
        raise HTTPException(404, "No user is called so.")
    page = await TaskLists(db, redaction).page(TaskFilter(user=user), limit=SHOWN)
    held = [one for one in await read_pauses(db) if one.kind == "user" and one.target == user]
    return render(
        request, "user.html", status=200 if problem is None else problem.status_code,
        title=f"User {user}", user=user, numbers=await user_numbers(db, user), page=page,
        newest=await newest_users_of(db), pause=held[0] if held else None, problem=problem,
        given=given, did=what_was_done(request), lines=_lines(request, user),
        unsettled=[state for state in TaskState if not state.settled],
    )  # fmt: skip


def _lines(request: Request, user: str) -> list[str]:
    path = f"/api/users/{segment(user)}"
    return [
        worker_line("users", "pause", about=user, reason="why", until="2h"),
        curl_line(request, "POST", f"{path}/pause", {"reason": "why", "until": "2h"}),
        worker_line("users", "resume", about=user),
        curl_line(request, "POST", f"{path}/resume"),
        worker_line("tasks", "cancel", f"--user={user}", "--yes"),
    ]


def _path(user: str) -> str:
    return f"/ui/users/{segment(user)}"
