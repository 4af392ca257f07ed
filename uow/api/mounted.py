"""Our routes in an app of FastAPI's that is somebody else's, behind their own dependencies."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, params
from starlette.requests import HTTPConnection
from starlette.responses import Response

from uow.api.access import note_caller
from uow.api.deps import StreamsDep
from uow.api.event_links import EventLinks
from uow.api.event_stream import EventStream
from uow.api.problems import http_error_of
from uow.api.roles import Caller, Role
from uow.api.routers.events import ANSWERS
from uow.api.routes import ROUTERS, check_role
from uow.questions.following import Following

Asked = Callable[..., Any]
"""A dependency of theirs: whatever parameters FastAPI can fill, sync or async."""


def router(
    *, dependencies: Sequence[params.Depends], role: Role | str | Asked, actor: str | Asked = "app"
) -> APIRouter:
    """The API's own routes, to be included in an app of yours, under any prefix.

    ``app.state.db`` is its `Database` and ``app.state.client`` its open `TaskClient`. Errors are
    `HTTPException`, so that your own handlers answer them. Neither tokens nor health are in it.

    Args:
        dependencies: Who may call at all, as ``[Depends(signed_in)]``: nothing else here asks.
        role: What they may do: ``"enqueuer"``, ``"viewer"``, ``"operator"`` or ``"admin"``; or a
            dependency that returns it for each request.
        actor: Who acts, as the audit says it; or a dependency that returns it.
    """
    role_of, actor_of = _asked(Role(role) if isinstance(role, str) else role), _asked(actor)

    async def let_in(
        connection: HTTPConnection,
        role: Annotated[str, Depends(role_of)],
        actor: Annotated[str, Depends(actor_of)],
    ) -> None:
        note_caller(connection.scope, Caller(str(actor), Role(role)))

    ours = [Depends(let_in), Depends(check_role), Depends(_as_http_errors)]
    found = APIRouter(dependencies=[*dependencies, *ours])
    for one in ROUTERS:
        found.include_router(one)
    return found


def _asked(said: str | Asked) -> Asked:
    if callable(said):
        return said

    async def always() -> str:
        return said

    return always


async def _as_http_errors() -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        told = http_error_of(error)
        if told is None:
            raise
        raise told from error


def events_router(links: EventLinks, *, path: str = "/events") -> APIRouter:
    """A stream of events for browsers, to be included in an app of yours, under any prefix.

    It is opened with a link of `links` and nothing else: ``new EventSource("/events?" + query)``. A
    stream ends when its link does, and then the browser gets a 403: give it a new one.
    ``app.state.db`` and ``app.state.client`` are as for `router`.

    Args:
        links: Who has signed.
        path: Where it is.
    """
    found = APIRouter(dependencies=[Depends(_as_http_errors)], tags=["events"])

    @found.get(path, response_class=Response, responses=ANSWERS)
    async def follow_link(
        streams: StreamsDep,
        until: int,
        signature: str,
        task: UUID | None = None,
        user: str | None = None,
    ) -> Response:
        """What a signed link lets its holder follow; otherwise as `GET /api/events`."""
        what = Following(task, user)
        left = links.seconds_left(what, until, signature)
        if left <= 0 or (task is None) == (user is None):
            raise HTTPException(403, "this link is good no more; ask for a new one")
        return EventStream(streams, what, left)

    return found
