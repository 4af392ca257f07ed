"""Kept threads, in which functions run that would block the event loop.

Of our own, and daemons: the interpreter waits at its exit for the threads of a
`ThreadPoolExecutor`, and one that does not return would keep the process for ever. A call that is
left alone (`Call.leave`), because nobody waits for it any more, is counted until it returns.
"""

import asyncio
import itertools
import logging
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from uow.process.forks import end_stray
from uow.user_code import place_in

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)


class NoThread(Exception):
    """There is no thread for a function, so that it was not called."""


class Call:
    """One call of a function in a thread.

    Attributes:
        ended: Is done when it has; it holds nothing.
    """

    __slots__ = ("_began", "_function", "_kept", "_on_return", "_result", "ended", "error")

    def __init__(self, function: Callable[[], Any], kept: "_Kept") -> None:
        self._function = function
        self._kept = kept
        self._result: Any = None
        self._began = time.monotonic()
        self._on_return: Callable[[], None] | None = None
        self.error: BaseException | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def outcome(self) -> Any:
        """What the function has returned; it has ended.

        Raises:
            BaseException: What it has raised.
        """
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # whose traceback leads back here
        return self._result

    @property
    def seconds(self) -> float:
        """How long ago it has begun."""
        return time.monotonic() - self._began

    @property
    def place(self) -> str:
        """Where its thread is."""
        frames = sys._current_frames()  # noqa: SLF001 - the only way
        frame: FrameType | None = frames.get(self._kept.ident or 0)
        return "an unknown place" if frame is None else place_in(frame)

    def work(self) -> None:
        """Call the function, in the thread."""
        try:
            self._result = self._function()
        except BaseException as error:  # whatever it is: it is the caller's
            self.error = error

    def leave(self, on_return: Callable[[], None]) -> None:
        """Nobody waits for it any more; `on_return` is called when it has ended."""
        self._on_return = on_return

    def told(self) -> None:
        """It has ended; on the loop."""
        if self._on_return is not None:
            self._on_return()
        if not self.ended.done():  # by whoever was cancelled
            self.ended.set_result(None)


class Threads:
    """The threads of one event loop; its methods are for that loop.

    Args:
        most: How many functions run at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: list[_Kept] = []
        self._there = 0
        self._waiting: deque[asyncio.Future[_Kept]] = deque()
        self._is_closed = False

    async def begin(self, function: Callable[[], Any], *, waits: bool = True) -> Call:
        """Call `function` in a thread, as soon as there is one.

        Args:
            waits: False: it runs in a thread beyond the limit, if it must be.

        Raises:
            NoThread: This process may have no more threads.
            asyncio.CancelledError: While it waited; it was not called.
        """
        kept = self._taken(waits) or await self._next()
        call = Call(function, kept)
        kept.calls.put(call)
        return call

    def close(self) -> None:
        """Let the threads end that do nothing, and the others when they have returned."""
        self._is_closed = True
        for kept in self._idle:
            kept.calls.put(None)
        self._idle.clear()

    def _taken(self, waits: bool) -> "_Kept | None":
        if self._idle:
            return self._idle.pop()  # the one that was used last
        if waits and self._there >= self._most:
            return None
        kept = _Kept(asyncio.get_running_loop(), self._returned)
        try:
            kept.start()
        except RuntimeError as error:  # this process may have no more
            if waits and self._there:
                return None
            raise NoThread(f"there is no thread to call it in: {error}") from error
        self._there += 1
        return kept

    async def _next(self) -> "_Kept":
        turn: asyncio.Future[_Kept] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on(turn.result())
            raise

    def _returned(self, kept: "_Kept", call: Call) -> None:
        self._pass_on(kept)
        call.told()

    def _pass_on(self, kept: "_Kept") -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(kept)
                return
        if self._is_closed or self._there > self._most:
            self._there -= 1
            kept.calls.put(None)
        else:
            self._idle.append(kept)


class _Kept(threading.Thread):
    """A thread that calls one function after another."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, returned: "Callable[[_Kept, Call], None]"
    ) -> None:
        super().__init__(name=f"uow.task-{next(_numbers)}", daemon=True)
        self.calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._loop = loop
        self._returned = returned
        self._process = os.getpid()

    def run(self) -> None:
        while (call := self.calls.get()) is not None:
            call.work()
            if os.getpid() != self._process:
                end_stray()  # a fork that the function has made, and that has come back from it
            try:
                self._loop.call_soon_threadsafe(self._returned, self, call)
            except RuntimeError:  # the loop is closed: nobody needs threads any more
                return
            del call  # or it would keep its result until the next
