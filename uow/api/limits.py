"""No request is read further than it may be large."""

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uow.api.problems import problem

TOO_LARGE = 413

ENVELOPE_BYTES = 64 * 1024
"""What a request may be larger than the arguments in it: the other fields, and white space."""


class BodyLimit:
    """Refuses a body that says it is too large, and stops reading one that turns out to be.

    Args:
        app: What is protected.
        max_bytes: The largest body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif _announced_bytes(scope) > self.max_bytes:
            await problem(TOO_LARGE, self._detail)(scope, receive, send)
        else:
            await self.app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        read = 0

        async def receive_some() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                raise HTTPException(TOO_LARGE, self._detail)
            return message

        return receive_some

    @property
    def _detail(self) -> str:
        return f"a request may have {self.max_bytes:,} bytes at most"


def _announced_bytes(scope: Scope) -> int:
    announced = Headers(scope=scope).get("content-length", "")
    return int(announced) if announced.isdecimal() else 0
