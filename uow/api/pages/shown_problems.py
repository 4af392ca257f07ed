"""Problems as pages: what a person is told who has asked for a page and cannot get it."""

import json
import logging
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uow.api.page_paths import is_page, path_of, wants_html
from uow.api.pages.rendering import render
from uow.api.problems import ProblemResponse

logger = logging.getLogger(__name__)

_OF_THE_BODY = frozenset({"content-type", "content-length"})


class ShownProblems:
    """Puts a page in the place of each problem that a browser would be sent below ``/ui/``.

    Whoever refuses a request (a guard, a router, a limit) says so in one way; this shows it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        is_shown = scope["type"] == "http" and is_page(path_of(scope))
        if not is_shown or not wants_html(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})  # who is let in further inside is noted in it
        await self.app(scope, receive, _Showing(scope, receive, send))


class _Showing:
    """Sends what there is to send; a problem when all of it is there, and as a page."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._problem: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        """Send a message, or keep it."""
        if message["type"] == "http.response.start" and _is_problem(message):
            self._problem = message
        elif self._problem is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._shown(self._problem)(self._scope, self._receive, self._send)

    def _shown(self, problem: Message) -> Response:
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in problem["headers"]
            if name.decode("latin-1").lower() not in _OF_THE_BODY
        }
        found: dict[str, Any] = json.loads(self._body)
        try:
            return render(
                Request(self._scope), "problem.html", status=problem["status"], headers=headers,
                title=found["title"], detail=found["detail"],
            )  # fmt: skip
        except Exception:
            logger.exception("a problem could not be shown as a page")
            return ProblemResponse(found, problem["status"], headers)


def _is_problem(message: Message) -> bool:
    return Headers(raw=message["headers"]).get("content-type") == ProblemResponse.media_type
