"""Who may call, and what every answer says to browsers.

With tokens (``WORKER_API_TOKENS``, ``WORKER_API_TOKENS_FILE``), whoever shows one. Without, this
machine alone: `server.serve` listens on loopback only, and `LoopbackOnly` is the second lock for
whoever serves the app with something else. The machine's own browser is not trusted with it: a page
from elsewhere can make it send requests, under a name that resolves to 127.0.0.1 or across origins.

What the caller may do, once let in, is asked at the route: `uow.api.access`.
"""

import re
from collections.abc import Callable, Collection
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from uow.api.access import note_caller
from uow.api.addresses import is_forwarded
from uow.api.failed_logins import FailedLogins
from uow.api.page_paths import STATIC, is_page, path_of
from uow.api.problems import problem
from uow.api.roles import THIS_MACHINE, Caller
from uow.api.token_file import Token
from uow.api.tokens import KnownTokens

POLICY_VIOLATION = 1008
"""The close code of a refused WebSocket."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", re.IGNORECASE)

_KEPT: Final = frozenset({200, 304})
"""Statuses of shared files that may be kept; that there is none is no such answer."""

PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # Origin stands in forms all the same
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of everything under ``/ui/``."""

Rule = Callable[[HTTPConnection], Caller | Response | None]
"""Says who calls, or how the request is refused; None: anybody may call this."""


class AccessGuard:
    """Asks a rule about every request, except on the open paths; notes who has been let in.

    Args:
        app: What is protected, unknown paths included.
        rule: Who may call.
        open_paths: Where anybody may call.
    """

    def __init__(self, app: ASGIApp, rule: Rule, open_paths: Collection[str]) -> None:
        self.app = app
        self.rule = rule
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(POLICY_VIOLATION)(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["type"] == "lifespan":
            return None
        if path_of(scope) in self.open_paths:
            return None
        said = self.rule(HTTPConnection(scope))
        if isinstance(said, Caller):
            note_caller(scope, said)
            return None
        return said


class TokenRequired:
    """Lets in whoever shows a known token as ``Authorization: Bearer <token>``.

    Args:
        tokens: Those that are known.
        failed: Who has shown wrong ones; they are told to wait.
    """

    def __init__(self, tokens: KnownTokens, failed: FailedLogins | None = None) -> None:
        self._tokens = tokens
        self._failed = failed or FailedLogins()

    def __call__(self, connection: HTTPConnection) -> Caller | Response:
        """Who calls; or a 401; or a 429, after too many wrong tokens from one address."""
        said = self.look(connection, bearer_token(connection.headers))
        if isinstance(said, Token):
            return Caller(said.name, said.role)
        return _wait(said) if said else _unknown()

    def look(self, connection: HTTPConnection, shown: bytes) -> Token | int:
        """The line of the token that a client shows; or how many seconds it has to wait, or 0."""
        address = connection.client.host if connection.client else ""
        line = self._tokens.line_of(shown)
        if line is not None:
            self._failed.succeeded(address)
            return line
        return self._failed.failed(address) if shown else 0


def _wait(seconds: int) -> Response:
    return problem(429, told_to_wait(seconds), headers={"Retry-After": str(seconds)})


def told_to_wait(seconds: int) -> str:
    """What a client reads that has shown too many wrong tokens."""
    return f"too many wrong tokens from this address; try again in {seconds} s"


def _unknown() -> Response:
    return problem(
        401,
        "this needs the header Authorization: Bearer <token>, with a token that is valid",
        headers={"WWW-Authenticate": "Bearer"},
    )


class LoopbackOnly:
    """Lets in this machine, and of its browser's requests only those of its own pages."""

    def __call__(self, connection: HTTPConnection) -> Caller | Response:
        """This machine, with every right; or a 403."""
        host, origin = connection.headers.get("host", ""), connection.headers.get("origin")
        if connection.client is None or not is_loopback(connection.client.host):
            return _forbidden("other machines may not call this")
        if is_forwarded(connection.headers):
            return _forbidden("what a proxy passes on may come from another machine")
        if not is_loopback(_host_of(host)):
            return _forbidden("the Host must be localhost, 127.0.0.1 or [::1]")
        if origin is not None and not is_loopback(_host_of(origin.partition("://")[2])):
            return _forbidden("pages of other hosts may not call this")
        return THIS_MACHINE


class HeaderWriter:
    """Tells browsers and proxies to take every answer as it is and to keep none.

    Pages run and load what is ours alone, and are shown in no frame. Files that all pages share may
    be kept as they say themselves: nothing in them is about anybody.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to the answer."""
        path = path_of(scope) if scope["type"] == "http" else ""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if not (path.startswith(STATIC) and message["status"] in _KEPT):
                    headers["Cache-Control"] = "no-store"
                if is_page(path):
                    headers.update(PAGE_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def bearer_token(headers: Headers) -> bytes:
    """The token that a request shows as ``Authorization: Bearer <token>``; empty: none."""
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    # Starlette has decoded it as latin-1, which loses no byte.
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine: the name localhost, or a loopback address."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _host_of(authority: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    return found[1].strip("[]").lower() if found else ""


def _forbidden(reason: str) -> Response:
    return problem(403, f"{reason}; with WORKER_API_TOKENS set, whoever has a token may")
