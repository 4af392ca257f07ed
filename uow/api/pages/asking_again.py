"""Asking for a page again, in process, as somebody who looks at it would.

The question goes through the whole app, so that whoever is not let in any more, or has another role
by now, gets the answer that a browser would get.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.types import Message, Scope

from uow.api.pages.rendering import REGIONS
from uow.api.roles import Role

GLANCE: Final = "uow.glance"
"""In a scope: nothing is wanted but whether the page would be shown, and to which role."""

ANSWER_SECONDS = 20.0
"""The longest that a page may take."""

TOO_SLOW: Final = 503

_OF_CONTENT: Final = frozenset({b"accept", b"content-length", b"transfer-encoding"})

_KEPT: Final = (
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string",
    "root_path", "client", "server",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What came of it.

    Attributes:
        status: Of HTTP.
        role: Of whoever has asked; None: nobody was let in.
        regions: What is in each region of the page, by its id.
    """

    status: int
    role: Role | None
    regions: Mapping[str, str]


async def ask_again(looks: Scope) -> PageAnswer:
    """The regions of a page as they are now, for whoever has sent the request `looks`."""
    regions = dict[str, str]()
    return await _ask(looks, {REGIONS: regions}, regions)


async def glance(looks: Scope) -> PageAnswer:
    """Whether the page would be shown; it is not rendered."""
    return await _ask(looks, {GLANCE: True}, {})


async def _ask(looks: Scope, wanted: Scope, regions: Mapping[str, str]) -> PageAnswer:
    state = dict[str, object]()
    headers = [(name, value) for name, value in looks["headers"] if name not in _OF_CONTENT]
    scope = {
        **{part: looks[part] for part in _KEPT if part in looks},
        "headers": [*headers, (b"accept", b"text/html")],
        "state": state,
        **wanted,
    }
    told = list[Message]()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            told.append(message)

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await looks["app"](scope, _no_body, send)
        status = int(told[0]["status"])
    except TimeoutError:
        status = TOO_SLOW
    role = state.get("role")
    return PageAnswer(status, role if isinstance(role, Role) else None, regions)


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
