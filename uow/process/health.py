"""What a worker process says of itself: whether it lives, and whether it can do its work.

It *lives* while its event loop and its heart turn: a server that is away is not death. It is
*ready* while Postgres and Redis answer and it claims. It is asked from a thread of its own
(`uow.process.reception`), so it answers while it starts, and while a task blocks the event loop.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from uow.process.heart import Heart
from uow.process.http_server import Answer, HttpRequest, Route, line

LIVE, READY, PROCESS = "/health/live", "/health/ready", "/process"

ANSWER_SECONDS = 1.0
"""What takes longer counts as no answer: probes do not wait longer themselves."""

STARTING, SERVING, STOPPING = "starting", "serving", "stopping"


@dataclass(frozen=True, slots=True)
class Report:
    """How a process is.

    Attributes:
        kind: ``worker``, or ``supervisor`` of others.
        state: ``starting``, ``serving``, ``stopping``.
        seconds: Since it began.
        unwell: Why it does not live as it should; None: it does.
        unready: Why it cannot do its work; None: it can.
    """

    kind: str
    pid: int
    app: str
    queues: Sequence[str]
    state: str
    seconds: float
    unwell: str | None
    unready: str | None

    def answer(self) -> Answer:
        """As JSON, for `worker check`."""
        return Answer(200, json.dumps(asdict(self)).encode(), "application/json")


@dataclass(frozen=True, slots=True)
class _Served:
    """What there is when it serves."""

    heart: Heart
    loop: asyncio.AbstractEventLoop
    ask: Callable[[], Awaitable[str | None]]
    leaves: Callable[[], bool]


class Health:
    """Of a worker process; asked from a thread of its own.

    Args:
        app: Whose it is.
        queues: Those that it serves.
        patience: Seconds that its heart may be silent.
    """

    def __init__(self, app: str, queues: Sequence[str], patience: float) -> None:
        self.app, self._queues = app, queues
        self._patience = patience
        self._began = time.monotonic()
        self._served: _Served | None = None
        self._otherwise = STARTING

    @property
    def routes(self) -> Mapping[str, Route]:
        """For an `HttpServer`."""
        return {LIVE: self._tell_live, READY: self._tell_ready, PROCESS: self._tell_all}

    def serves(
        self, heart: Heart, ask: Callable[[], Awaitable[str | None]], leaves: Callable[[], bool]
    ) -> None:
        """It has started; called on its event loop.

        Args:
            heart: Its heart.
            ask: Says, on that loop, why it is not ready; None: it is.
            leaves: Whether it was told to stop.
        """
        self._served = _Served(heart, asyncio.get_running_loop(), ask, leaves)

    def ends(self) -> None:
        """It does not serve any more."""
        self._served, self._otherwise = None, STOPPING

    @property
    def state(self) -> str:
        """How far it is."""
        served = self._served
        if served is None:
            return self._otherwise
        return STOPPING if served.leaves() else SERVING

    def unwell(self) -> str | None:
        """Why it does not live; None: it does, or it is starting."""
        served = self._served
        if served is None:
            return None
        if served.heart.is_stalled():
            return f"its event loop has been blocked for {served.heart.lag:.0f} s"
        if served.heart.silence > self._patience:
            return f"its heart has been silent for {served.heart.silence:.0f} s"
        return None

    async def unready(self) -> str | None:
        """Why it cannot do its work; None: it can."""
        served, state = self._served, self.state
        if served is None or state != SERVING:
            return f"it is {state}"
        if (reason := self.unwell()) is not None:
            return reason
        asked = asyncio.run_coroutine_threadsafe(_awaited(served.ask), served.loop)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            return f"its event loop has not answered for {ANSWER_SECONDS:g} s"

    async def _tell_live(self, _: HttpRequest) -> Answer:
        return verdict(self.unwell())

    async def _tell_ready(self, _: HttpRequest) -> Answer:
        return verdict(await self.unready())

    async def _tell_all(self, _: HttpRequest) -> Answer:
        seconds = time.monotonic() - self._began
        return Report(
            "worker", os.getpid(), self.app, self._queues, self.state, seconds,
            self.unwell(), await self.unready(),
        ).answer()  # fmt: skip


def verdict(problem: str | None) -> Answer:
    """200, or 503 with the problem."""
    return line(200, "ok") if problem is None else line(503, problem)


async def _awaited(ask: Callable[[], Awaitable[str | None]]) -> str | None:
    return await ask()
