"""Who may call, and what every answer says to browsers.

With tokens (``WORKER_API_TOKENS``), whoever shows one. Without, this machine alone: `server.serve`
listens on loopback only, and `LoopbackOnly` is the second lock for whoever serves the app with
something else. The machine's own browser is not trusted with it: a page from elsewhere can make it
send requests, under a name that resolves to 127.0.0.1 or across origins.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterable
from ipaddress import IPv6Address, ip_address

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from uow.api.problems import problem

POLICY_VIOLATION = 1008
"""The close code of a refused WebSocket."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", re.IGNORECASE)

Rule = Callable[[HTTPConnection], Response | None]
"""Says how a request is refused; None lets it in."""


class AccessGuard:
    """Asks a rule about every request, except on the open paths.

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
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return None if path in self.open_paths else self.rule(HTTPConnection(scope))


class TokenRequired:
    """Lets in whoever shows one of `tokens` as ``Authorization: Bearer <token>``."""

    def __init__(self, tokens: Iterable[SecretStr]) -> None:
        self._digests = [_digest(token.get_secret_value().encode()) for token in tokens]

    def __call__(self, connection: HTTPConnection) -> Response | None:
        """None, or a 401."""
        if self._knows(_bearer_token(connection.headers)):
            return None
        return problem(
            401,
            "this needs the header Authorization: Bearer <token>, with a token that is valid",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _knows(self, token: bytes) -> bool:
        # Digests are of one length, and all are compared: the time says nothing about any token.
        shown = _digest(token)
        matches = sum(hmac.compare_digest(shown, known) for known in self._digests)
        return bool(token) and matches > 0


class LoopbackOnly:
    """Lets in this machine, and of its browser's requests only those of its own pages."""

    def __call__(self, connection: HTTPConnection) -> Response | None:
        """None, or a 403."""
        host, origin = connection.headers.get("host", ""), connection.headers.get("origin")
        if connection.client is None or not is_loopback(connection.client.host):
            return _forbidden("other machines may not call this")
        if not is_loopback(_host_of(host)):
            return _forbidden("the Host must be localhost, 127.0.0.1 or [::1]")
        if origin is not None and not is_loopback(_host_of(origin.partition("://")[2])):
            return _forbidden("pages of other hosts may not call this")
        return None


class HeaderWriter:
    """Tells browsers and proxies to take every answer as it is and to keep none."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add to the answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, send_with_headers)


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


def _bearer_token(headers: Headers) -> bytes:
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    # Starlette has decoded it as latin-1, which loses no byte.
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _host_of(authority: str) -> str:
    found = _AUTHORITY.fullmatch(authority)
    return found[1].strip("[]").lower() if found else ""


def _forbidden(reason: str) -> Response:
    return problem(403, f"{reason}; with WORKER_API_TOKENS set, whoever has a token may")
