"""Logins of browsers: who has shown a token once has a cookie for twelve hours.

The cookie says whose token it was, until when the login is good, and a signature over that and over
the line of the token as it was then: its name, its role, its hash. Neither the token nor its hash
is in it. Each request asks for the line anew, so that a login ends at once with a token that is
revoked, gets another role, or is replaced under its name. Nothing is stored: with
``WORKER_API_SECRET`` a login outlives the process, and is good for all processes that have it.
"""

import base64
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import SecretStr
from starlette.requests import HTTPConnection
from starlette.responses import Response

from uow.api.page_paths import address
from uow.api.roles import Caller
from uow.api.signing import Signer
from uow.api.token_file import Token
from uow.api.tokens import KnownTokens

logger = logging.getLogger(__name__)

COOKIE = "worker_login"

SECONDS = 43_200
"""How long a login is good: half a day."""

LONGEST = 512
"""Characters of a cookie that are looked at; ours have less."""

_PURPOSE = b"uow login 1\n"


@dataclass(frozen=True, slots=True)
class Login:
    """A login that is good now.

    Attributes:
        caller: Whose it is.
        cookie: The value of its cookie; no two logins have the same.
    """

    caller: Caller
    cookie: str


class Logins:
    """Makes cookies of logins, and reads those that come back.

    Args:
        tokens: Those that may log in.
        secret: ``WORKER_API_SECRET``; None: the logins end with this object.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        tokens: KnownTokens,
        secret: SecretStr | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._signer = Signer(_PURPOSE, secret)
        self._clock = clock
        self._outlives = secret is not None

    def tell(self) -> None:
        """Say in the log how long logins last, if that may surprise."""
        if not self._outlives:
            logger.info(
                "WORKER_API_SECRET is not set: logins on the pages end with this process, and no "
                "other process knows them"
            )

    def begin(self, token: Token) -> str:
        """The value of the cookie for whoever has shown this token."""
        until, nonce = int(self._clock()) + SECONDS, secrets.token_hex(8)
        said = json.dumps([token.name, until, nonce], separators=(",", ":")).encode()
        signature = self._signer.sign(*_signed(token, until, nonce))
        return f"{base64.urlsafe_b64encode(said).decode().rstrip('=')}.{signature}"

    def find(self, connection: HTTPConnection) -> Login | None:
        """Whose login a request shows; None: no login that is good now."""
        for value in _cookies_of(connection):
            caller = self.caller_of(value)
            if caller is not None:
                return Login(caller, value)
        return None

    def caller_of(self, value: str) -> Caller | None:
        """Whose login a cookie is; None: it is over, or was never one."""
        said, _, signature = value.partition(".")
        read = _read(said)
        if read is None:
            return None
        name, until, nonce = read
        found: Caller | None = None
        for token in self._tokens.named(name):
            if self._signer.has_signed(signature, *_signed(token, until, nonce)):
                found = Caller(token.name, token.role)
        return found if self._clock() < until else None


def set_cookie(response: Response, connection: HTTPConnection, value: str) -> None:
    """Give a browser the cookie of a login: for the pages alone, and for no script."""
    _set(response, connection, value, SECONDS)


def expire_cookie(response: Response, connection: HTTPConnection) -> None:
    """Let a browser forget its login."""
    _set(response, connection, "", 0)


def _set(response: Response, connection: HTTPConnection, value: str, seconds: int) -> None:
    scope = connection.scope
    response.set_cookie(
        COOKIE, value, max_age=seconds, expires=seconds, path=address(scope, "/ui"),
        secure=scope.get("scheme") == "https", httponly=True, samesite="lax",
    )  # fmt: skip


def _signed(token: Token, until: int, nonce: str) -> tuple[str | int, ...]:
    return token.name, token.role.value, token.sha256.hex(), until, nonce


def _read(said: str) -> tuple[str, int, str] | None:
    try:
        found = json.loads(base64.b64decode(f"{said}===", altchars=b"-_"))
    except (ValueError, RecursionError):
        return None
    match found:
        case [str() as name, int() as until, str() as nonce]:
            return name, until, nonce
    return None


def _cookies_of(connection: HTTPConnection) -> Iterator[str]:
    """All of that name: somebody else under this host may have set one as well."""
    for header in connection.headers.getlist("cookie"):
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE and len(value) <= LONGEST:
                yield value
