"""One stream as server-sent events, and how it ends.

It ends when its client goes, when its time is over, or when the process stops; the browser connects
again by itself and gets a new snapshot, whatever ``Last-Event-ID`` it shows.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Any

from pydantic_core import to_json
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from uow.api import streams
from uow.api.streams import Stream, Streams, is_away
from uow.db.following import FollowedTask
from uow.questions.following import Following

STREAM_SECONDS = 900.0
"""The longest that a stream lasts: then who follows has to be let in anew."""

CHECK_SECONDS = 10.0
"""Within which it is noticed that who follows may not follow any more."""

FAREWELL_SECONDS = 1.0
"""For the last bytes of a stream, to a client that may have stopped reading."""

HEARTBEAT = b": still here\n\n"

HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}


class EventStream(StreamingResponse):
    """A response that goes on.

    Args:
        of: The streams of the process.
        what: What is followed.
        seconds: How long it lasts at most.
        may_follow: Whether whoever has asked still may; asked every `CHECK_SECONDS`.
    """

    def __init__(
        self,
        of: Streams,
        what: Following,
        seconds: float = STREAM_SECONDS,
        may_follow: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(iter(()), headers=HEADERS, media_type="text/event-stream")
        self._streams = of
        self._what = what
        self._seconds = min(seconds, STREAM_SECONDS)
        self._may_follow = may_follow
        self._number = 0
        self._told: list[FollowedTask] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; the first snapshot is there before the response begins.

        Raises:
            HTTPException: 503, there are too many streams.
        """
        async with self._streams.following(self._what) as stream:
            first = await self._next_frame(stream)
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            sending = self._send_all(first, stream, send)
            ends = (self._streams.closing.wait(), self._is_shut_out())
            await send_until_an_end(sending, receive, *ends, seconds=self._seconds)
        await bid_farewell(send)

    async def _is_shut_out(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if not self._may_follow():
                return

    async def _send_all(self, first: bytes, stream: Stream, send: Send) -> None:
        frame = b"retry: 2000\n" + first
        while True:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            await asyncio.sleep(streams.FRAME_SECONDS)
            try:
                frame = await self._next_frame(stream)
            except Exception as error:
                if not is_away(error):
                    raise
                stream.begin_anew()
                frame = HEARTBEAT
                await asyncio.sleep(streams.OVERFLOW_SECONDS)

    async def _next_frame(self, stream: Stream) -> bytes:
        """What is due; after a quiet time a snapshot, should it differ from what is known."""
        quiet = False
        try:
            async with asyncio.timeout(streams.BEAT_SECONDS):
                await stream.due.wait()
        except TimeoutError:
            quiet = stream.begins_anew = True
        anew, told = stream.begins_anew, stream.take()
        if not anew:
            self._told = None
            return self._frames(told)
        found = await self._streams.ask(self._what)
        if quiet and found == self._told:
            return HEARTBEAT
        self._told = found
        return self._frame("snapshot", found)

    def _frames(self, told: Sequence[FollowedTask]) -> bytes:
        """One for what is settled and one for the rest, sent together."""
        settled = [task for task in told if task.settled_at is not None]
        others = [task for task in told if task.settled_at is None]
        kinds = {"settled": settled, "changed": others}
        return b"".join(self._frame(event, tasks) for event, tasks in kinds.items() if tasks)

    def _frame(self, event: str, tasks: Sequence[FollowedTask]) -> bytes:
        self._number += 1
        data = to_json({"tasks": [asdict(task) for task in tasks]})
        return b"event: %s\nid: %d\ndata: %s\n\n" % (event.encode(), self._number, data)


async def send_until_an_end(
    sending: Coroutine[Any, Any, None],
    receive: Receive,
    *others: Coroutine[Any, Any, Any],
    seconds: float,
) -> None:
    """Send a stream until the first of all that can end it has come.

    Args:
        sending: Its bytes.
        receive: Says that the client has gone.
        others: What else ends it, when it returns.
        seconds: The longest that it lasts.
    """
    ends: list[asyncio.Task[Any]] = [
        asyncio.create_task(one) for one in (sending, _client_goes(receive), *others)
    ]
    try:
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ends[0].done():
            with contextlib.suppress(OSError):  # of a client that is gone, as some servers say
                ends[0].result()
    finally:
        for one in ends:
            one.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def bid_farewell(send: Send) -> None:
    """The last bytes of a stream."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            await send({"type": "http.response.body", "body": b""})


async def _client_goes(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
