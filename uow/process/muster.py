"""What a supervisor says of its processes: it asks each of them, and answers for all."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass

from uow.process import roster
from uow.process.exposition import (
    METRICS,
    METRICS_IN_FULL,
    content_type,
    is_openmetrics_wanted,
    merged,
)
from uow.process.health import LIVE, PROCESS, READY, SERVING, STOPPING, Report, verdict
from uow.process.http_server import Answer, HttpRequest, Route
from uow.process.reception import Ports, doors_of, open_all, serving

ASK_SECONDS = 2.0
"""A process that takes longer does not answer: it is stopped, or something keeps its threads."""

START_SECONDS = 300.0
"""A process that has not begun to answer by then hangs; its imports may load a model."""

ANSWER_BYTES = 16 * 1024 * 1024

_HEAD = re.compile(rb"HTTP/1\.1 (\d+) .*\r\nContent-Length: (\d+)(?:\r\n|$)", re.DOTALL)
"""Of an answer, as an `HttpServer` writes it."""


@dataclass(frozen=True, slots=True)
class Post:
    """A place for a process.

    Attributes:
        number: From 0.
        pid: Of the process that is in it; None: it is between two.
        vacancy: Why there is none.
        age: For how many seconds it has run.
    """

    number: int
    pid: int | None
    vacancy: str = "has not been started"
    age: float = 0.0

    def __str__(self) -> str:
        return f"process {self.number}" + (f" (pid {self.pid})" if self.pid is not None else "")


class Muster:
    """The posts of a supervisor.

    Args:
        app: Whose they are.
        posts: Says what they are now.
        stops: Whether the supervisor was told to stop.

    Attributes:
        can_ask: Whether there is a folder for sockets: ours is where those of the processes are.
    """

    def __init__(
        self, app: str, posts: Callable[[], Sequence[Post]], stops: Callable[[], bool]
    ) -> None:
        self.app, self._posts, self._stops = app, posts, stops
        self._began = time.monotonic()
        self.can_ask = True

    @property
    def routes(self) -> Mapping[str, Route]:
        """For an `HttpServer`."""
        return {
            LIVE: self._tell_live, READY: self._tell_ready, PROCESS: self._tell_all,
            METRICS: self._tell_metrics,
        }  # fmt: skip

    async def ask_each(self, path: str) -> list[tuple[Post, Answer | None]]:
        """What each process answers to `path`, all asked at once; None: there is no answer."""
        posts = self._posts()
        answers = await asyncio.gather(*(_ask(one, path, can_ask=self.can_ask) for one in posts))
        return list(zip(posts, answers, strict=True))

    async def _tell_live(self, _: HttpRequest) -> Answer:
        # Who is between two processes, or starts one, is at work; who hangs is not helped by us.
        return verdict(_first_problem(await self.ask_each(LIVE), vacant_is_well=True))

    async def _tell_ready(self, _: HttpRequest) -> Answer:
        return verdict(_first_problem(await self.ask_each(READY), vacant_is_well=False))

    async def _tell_metrics(self, request: HttpRequest) -> Answer:
        openmetrics = is_openmetrics_wanted(request.headers.get("accept", ""), request.query)
        answers = await self.ask_each(METRICS_IN_FULL if openmetrics else METRICS)
        # Who starts, or hangs, has none: his series pause, and those of the others go on.
        texts = [(str(post.number), one.body) for post, one in answers if one and one.status == 200]
        text = merged(texts, openmetrics=openmetrics)
        return Answer(200, text, content_type(openmetrics=openmetrics))

    async def _tell_all(self, _: HttpRequest) -> Answer:
        vacant = [f"{one} {one.vacancy}" for one in self._posts() if one.pid is None]
        problem = None if self._stops() or not vacant else "; ".join(vacant)
        state = STOPPING if self._stops() else SERVING
        seconds = time.monotonic() - self._began
        return Report(
            "supervisor", os.getpid(), self.app, (), state, seconds, problem, problem
        ).answer()


@contextlib.asynccontextmanager
async def answering(muster: Muster, ports: Ports) -> AsyncIterator[None]:
    """Answer for all while the block runs, on the running event loop.

    Args:
        ports: Those of the settings.

    Raises:
        SettingsError: A port cannot be listened on.
    """
    routes = muster.routes
    served, entry = open_all(muster.app, routes, doors_of(routes, ports))
    muster.can_ask = entry is not None
    try:
        async with serving(served):
            yield
    finally:
        if entry is not None:
            entry.remove()


def _first_problem(
    answers: Sequence[tuple[Post, Answer | None]], *, vacant_is_well: bool
) -> str | None:
    for post, answer in answers:
        if post.pid is None:
            if not vacant_is_well:
                return f"{post} {post.vacancy}"
        elif answer is None:
            return f"{post}: no answer"
        elif answer.status != 200:
            return f"{post}: {answer.body.decode().strip()}"
    return None


async def _ask(post: Post, path: str, *, can_ask: bool) -> Answer | None:
    if post.pid is None:
        return None
    there = [*roster.entries(post.pid)]
    if not there:
        return _unasked(post, path, can_ask=can_ask)
    for entry in there:  # one that was killed may have had this id, and left its socket
        with contextlib.suppress(TimeoutError, OSError, ValueError):
            async with asyncio.timeout(ASK_SECONDS):
                return await _asked_at(entry.path, path)
    return None


def _unasked(post: Post, path: str, *, can_ask: bool) -> Answer:
    """For a process without a socket; one of which nobody can know better is left alive."""
    if not can_ask:
        said = f"nobody can ask it: no socket in {' or '.join(roster.FOLDERS)}"
    elif post.age < START_SECONDS:
        said = "it is starting"
    else:
        return Answer(503, f"it has not begun to answer within {START_SECONDS:g} s".encode())
    return Answer(200 if path == LIVE else 503, said.encode())


async def _asked_at(socket: str, path: str) -> Answer:
    reader, writer = await asyncio.open_unix_connection(socket, limit=ANSWER_BYTES)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        found = _HEAD.match(head)
        if found is None or int(found[2]) != len(body):
            raise ValueError("its process has ended in the middle")
        return Answer(int(found[1]), body)
    finally:
        writer.close()
