"""The HTTP API: tasks and health over FastAPI, and the dependencies a service can use.

A request's way, from the outside to the inside: `ServedUnder` (behind a path prefix),
`HeaderWriter`, `ShownProblems` (as pages, to browsers), `ErrorAnswerer`, `ClientAddress` (if
proxies are trusted), `AccessGuard` (a token, a login on the pages, or this machine), `BodyLimit`,
`check_role`, `check_form` (of what pages change), route, session. The session's commit is done
before the response is sent, so what the caller is told has happened. Whatever goes wrong is
answered as problem details.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uow.api.event_links import EventLinks
    from uow.api.mounted import events_router, router

__all__ = ["EventLinks", "events_router", "router"]

_PLACES = {"EventLinks": "event_links", "events_router": "mounted", "router": "mounted"}
"""Imported when they are asked for: a file of tokens needs no FastAPI."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"uow.api.{_PLACES[name]}"), name)
