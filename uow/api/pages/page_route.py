"""What every page is: an error of it is a page, too."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.routing import APIRoute

from uow.api.pages.asking_again import GLANCE
from uow.api.pages.rendering import render
from uow.api.pages.watch_stream import wants_stream, watch
from uow.api.problems import http_error_of

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose problems are shown as pages, and which can be watched."""

    def get_route_handler(self) -> Handler:
        """The handler, with its errors answered."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            if GLANCE in request.scope:
                return Response(status_code=204)
            try:
                return await (watch if wants_stream(request) else handle)(request)
            except Exception as error:
                told = _told(error)
                if told is None:
                    raise
                return problem_page(request, told)

        return answer


def page_router() -> APIRouter:
    """A router of pages; they are not in the API's documentation."""
    return APIRouter(prefix="/ui", route_class=PageRoute, include_in_schema=False)


def problem_page(request: Request, error: HTTPException) -> Response:
    """What went wrong, as a page with the error's status."""
    return render(
        request, "problem.html", status=error.status_code, headers=error.headers,
        title=HTTPStatus(error.status_code).phrase, detail=str(error.detail),
    )  # fmt: skip


def _told(error: Exception) -> HTTPException | None:
    match error:
        case HTTPException():
            return error
        case RequestValidationError():
            faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
            return HTTPException(422, f"this cannot be shown: {faults}")
    return http_error_of(error)
