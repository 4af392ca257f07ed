"""A page that is looked at, as server-sent events: the address of the page, asked for as a stream.

`regions` has those that have changed, by their ids; the first one has all of them. `trouble` says
that the servers do not answer; `over` that there is nothing more to see, and why.
"""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from uow.api.access import get_caller
from uow.api.deps import get_client, get_database, get_streams
from uow.api.event_stream import (
    HEADERS,
    HEARTBEAT,
    STREAM_SECONDS,
    bid_farewell,
    send_until_an_end,
)
from uow.api.pages.watching import PageAddress, Viewer, Watched, Watching, followed_on

MEDIA_TYPE: Final = "text/event-stream"

BEAT_SECONDS = 15.0
"""Of quiet, after which a stream says that it lives."""

NOT_LIVE: Final = 204
"""Tells a browser to ask no more."""

_SLOW: Final = 503


def wants_stream(request: Request) -> bool:
    """Whether it is the page's script that asks."""
    return request.method == "GET" and MEDIA_TYPE in request.headers.get("accept", "")


async def watch(request: Request) -> Response:
    """The stream of the page that is asked for.

    Raises:
        HTTPException: 403, nobody was let in.
    """
    if "reveal" in request.query_params:  # each look is noted, and the page's own was
        return Response(status_code=NOT_LIVE)
    caller = await get_caller(request)
    address = PageAddress(
        host=f"{request.url.scheme}://{request.url.netloc}",
        root_path=request.scope.get("root_path", ""),
        path=request.scope["path"],
        query=request.scope["query_string"],
        role=caller.role,
    )
    return WatchStream(await _watching(request), address)


class WatchStream(StreamingResponse):
    """A response that goes on.

    Args:
        of: The pages of the process.
        address: The one that is looked at.
    """

    def __init__(self, of: Watching, address: PageAddress) -> None:
        super().__init__(iter(()), headers=HEADERS, media_type=MEDIA_TYPE)
        self._watching = of
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; it is known before the response begins whether there is a page.

        Raises:
            HTTPException: 503, there are too many streams.
        """
        viewer = Viewer(scope, asyncio.get_running_loop().time())
        what = followed_on(scope.get("path_params", {}))
        async with self._watching.looking(self._address, viewer, what) as page:
            first = await _frame(page, viewer)
            status = viewer.over or (_SLOW if viewer.troubled else None)
            if status is not None:
                await Response(status_code=status)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            sending = _send_all(first, page, viewer, send)
            closing = self._watching.streams.closing.wait()
            await send_until_an_end(sending, receive, closing, seconds=STREAM_SECONDS)
        await bid_farewell(send)


async def _send_all(first: bytes, page: Watched, viewer: Viewer, send: Send) -> None:
    frame = b"retry: 2000\n" + first
    while True:
        await send({"type": "http.response.body", "body": frame, "more_body": True})
        if viewer.over is not None:
            return
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                frame = await _frame(page, viewer)
        except TimeoutError:
            frame = HEARTBEAT


async def _frame(page: Watched, viewer: Viewer) -> bytes:
    """What is to be told next; what has changed meanwhile is told as it is in the end."""
    while True:
        await viewer.due.wait()
        viewer.due.clear()
        frame = page.frame(viewer)
        if frame is not None:
            return frame


async def _watching(request: Request) -> Watching:
    found: Watching | None = getattr(request.app.state, "uow_watching", None)
    if found is None:
        streams = await get_streams(request, get_database(request), get_client(request))
        found = request.app.state.uow_watching = Watching(streams)
    return found
