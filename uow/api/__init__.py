"""The HTTP API: tasks and health over FastAPI, and the dependencies a service can use.

A request's way, from the outside to the inside: `HeaderWriter`, `ErrorAnswerer`, `ClientAddress`
(if proxies are trusted), `AccessGuard` (a token, or this machine), `BodyLimit`, `check_role`,
route, session. The session's commit is done before the response is sent, so what the caller is told
has happened. Whatever goes wrong is answered as problem details.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uow.api.mounted import router

__all__ = ["router"]


def __getattr__(name: str) -> Any:
    if name != "router":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from uow.api.mounted import router  # with FastAPI, which a file of tokens does not need

    return router
