"""The way in: logging in with a token, and out."""

import logging
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request, Response
from starlette.responses import RedirectResponse

from uow.api.entrance import Entrance
from uow.api.logins import expire_cookie, set_cookie
from uow.api.page_paths import LOGIN, OVERVIEW, address, page_or_overview, wants_html
from uow.api.pages.page_route import page_router
from uow.api.pages.rendering import render
from uow.api.security import told_to_wait
from uow.api.token_file import Token

logger = logging.getLogger(__name__)

SEE_OTHER = 303

router = page_router()
front = APIRouter(include_in_schema=False)
"""What a browser finds that has been given the host alone."""


@front.get("/")
@front.get("/ui")
async def lead_in(request: Request) -> Response:
    """To the overview, if it is a browser that asks."""
    if not wants_html(request.headers):
        raise HTTPException(404)
    return _to(request, OVERVIEW)


@router.get("/login")
async def ask_for_token(request: Request, next: str = "") -> Response:  # noqa: A002
    """The form; where nobody has to log in, the overview."""
    if _entrance(request).logins is None:
        return _to(request, OVERVIEW)
    return _form(request, next)


@router.post("/login")
async def log_in(
    request: Request,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "",  # noqa: A002
) -> Response:
    """Give a cookie for a token, and go on; a wrong one is slowed as anywhere else."""
    entrance = _entrance(request)
    if entrance.tokens is None or entrance.logins is None:
        return _to(request, OVERVIEW)
    said = entrance.tokens.look(request, token.strip().encode("utf-8", "replace"))
    if not isinstance(said, Token):
        return _refused(request, next, wait=said)
    address_of_client = request.client.host if request.client else "an unknown address"
    logger.info("%s has logged in from %s", said.name, address_of_client)
    answer = _to(request, page_or_overview(next))
    set_cookie(answer, request, entrance.logins.begin(said))
    return answer


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Let the browser forget its login; whoever has copied the cookie keeps it until it expires."""
    answer = _to(request, LOGIN)
    expire_cookie(answer, request)
    return answer


def _refused(request: Request, wanted: str, wait: int) -> Response:
    if wait:
        headers = {"Retry-After": str(wait)}
        return _form(request, wanted, told_to_wait(wait), status=429, headers=headers)
    error = "this token is not known: it is mistyped, or has been revoked"
    return _form(request, wanted, error, status=403)


def _form(
    request: Request,
    wanted: str,
    error: str | None = None,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    return render(
        request, "login.html", status=status, headers=headers,
        title="Log in", next=page_or_overview(wanted), error=error,
    )  # fmt: skip


def _entrance(request: Request) -> Entrance:
    found: Entrance = request.app.state.entrance
    return found


def _to(request: Request, path: str) -> Response:
    return RedirectResponse(address(request.scope, path), SEE_OTHER)
