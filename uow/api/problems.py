"""Every error as problem details (RFC 9457).

A problem says what the caller can act on and nothing about our insides: no traceback, no SQL, no
address, and none of the values that were sent.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import HTTPException as FastAPIHTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uow.db.failures import is_infrastructure
from uow.errors import (
    ActRefused,
    BulkActNotFound,
    EnqueueError,
    InvalidFilter,
    PayloadTooLarge,
    ServerUnreachable,
    TaskNotFound,
    UniqueKeyTaken,
    WorkerError,
)

logger = logging.getLogger(__name__)

RETRY_AFTER = {"Retry-After": "5"}
"""Seconds: a restart of Postgres or Redis takes about that."""

_STATUSES: tuple[tuple[type[WorkerError], HTTPStatus], ...] = (
    (PayloadTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UniqueKeyTaken, HTTPStatus.CONFLICT),
    (EnqueueError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InvalidFilter, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TaskNotFound, HTTPStatus.NOT_FOUND),
    (ActRefused, HTTPStatus.CONFLICT),
    (BulkActNotFound, HTTPStatus.NOT_FOUND),
)
"""The errors that are the caller's; their messages are for the caller. The first that fits."""


class ProblemResponse(JSONResponse):
    """A response in `application/problem+json`, in ASCII: a lone surrogate cannot break it."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: object
) -> ProblemResponse:
    """A problem; `more` are members beside those of the RFC."""
    content = {
        "type": "about:blank",  # that is: the title and the status say it all
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        **more,
    }
    return ProblemResponse(content, status, headers)


def problem_of(error: Exception) -> ProblemResponse:
    """What `error` means to the caller."""
    match error:
        case HTTPException():
            return problem(error.status_code, str(error.detail), headers=error.headers)
        case RequestValidationError():
            faults = _faults(error)
            return problem(422, _told(faults), errors=faults)
    if (told := http_error_of(error)) is not None:
        return problem(told.status_code, told.detail, headers=told.headers)
    return problem(500, "something went wrong here; the log of the server says what")


def http_error_of(error: Exception) -> FastAPIHTTPException | None:
    """An error of ours, or of a server behind, as any app of FastAPI's answers it; None: a bug."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return FastAPIHTTPException(status, str(error))
    if _is_away(error):
        return FastAPIHTTPException(503, "a server behind this one is away; try again", RETRY_AFTER)
    return None


async def answer(_: Request, error: Exception) -> ProblemResponse:
    """`problem_of` as an exception handler."""
    return problem_of(error)


class ErrorAnswerer:
    """Answers what no exception handler has: also what other middleware raises.

    Starlette's own place for it is outside of all middleware, where headers would be missing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer what it raises, and log what is not the caller's fault."""
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            response = problem_of(error)
            _log(scope, response.status_code, error)
            await response(scope, receive, send)


def _log(scope: Scope, status: int, error: Exception) -> None:
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    away = status == HTTPStatus.SERVICE_UNAVAILABLE
    level, trace = (logging.WARNING, None) if away else (logging.ERROR, error)
    what = (str(error).splitlines() or [""])[0]
    logger.log(
        level, "%s %r answered with %d: %s: %s", scope["method"], scope["path"], status,
        type(error).__name__, what, exc_info=trace,
    )  # fmt: skip


def _is_away(error: Exception) -> bool:
    # A connection that cannot be made is an OSError; nothing else here does I/O.
    return is_infrastructure(error) or isinstance(error, ServerUnreachable | OSError)


def _told(faults: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong first, where, and what to send instead."""
    first = faults[0]
    where = ".".join(str(part) for part in first["loc"][1:])[:200]
    if first["type"] == "model_attributes_type":
        said = "the body is to be an object, sent with Content-Type: application/json"
    else:
        said = f"{where or first['loc'][0]}: {first['msg']}"
    return said if len(faults) == 1 else f"{said}; {len(faults) - 1} more, see errors"


def _faults(error: RequestValidationError) -> list[dict[str, Any]]:
    """Where, what, and of which kind; not the value, which may be a secret or a megabyte."""
    return [
        {"loc": list(fault["loc"]), "msg": fault["msg"], "type": fault["type"]}
        for fault in error.errors()
    ]
