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
from collections.abc import Callable
from types import FrameType
from typing import Any

from uow.process.forks import end_stray
from uow.process.kept import Kept
from uow.user_code import place_in

logger = logging.getLogger(__name__)

_numbers = itertools.count(1)


class Call:
    """One call of a function in a thread.

    Attributes:
        ended: Is done when it has; it holds nothing.
        has_returned: Whether it has, whoever waits for it.
        is_named: Whether the log has said that it goes on.
    """

    __slots__ = (
        "_began", "_function", "_on_return", "_result", "ended", "error", "has_returned",
        "is_named", "thread",
    )  # fmt: skip

    def __init__(self, function: Callable[[], Any], thread: "_Thread") -> None:
        self._function = function
        self.thread = thread
        self._result: Any = None
        self._began = time.monotonic()
        self._on_return: Callable[[], None] | None = None
        self.error: BaseException | None = None
        self.has_returned = self.is_named = False
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
        frame: FrameType | None = frames.get(self.thread.ident or 0)
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
        self.has_returned = True
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
        self._kept = Kept(most, self._started, _Thread.leave)

    async def begin(self, function: Callable[[], Any], *, waits: bool = True) -> Call:
        """Call `function` in a thread, as soon as there is one.

        Args:
            waits: False: it runs in a thread beyond the number, if it must be.

        Raises:
            NotCalled: This process may have no more threads.
            asyncio.CancelledError: While it waited; it was not called.
        """
        thread = await self._kept.take(waits=waits)
        call = Call(function, thread)
        thread.calls.put(call)
        return call

    def close(self) -> None:
        """Let the threads end that do nothing, and the others when they have returned."""
        self._kept.close()

    def _started(self) -> "_Thread":
        thread = _Thread(asyncio.get_running_loop(), self._returned)
        thread.start()
        return thread

    def _returned(self, thread: "_Thread", call: Call) -> None:
        self._kept.put(thread)
        call.told()


class _Thread(threading.Thread):
    """A thread that calls one function after another."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, returned: "Callable[[_Thread, Call], None]"
    ) -> None:
        super().__init__(name=f"uow.task-{next(_numbers)}", daemon=True)
        self.calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._loop = loop
        self._returned = returned
        self._process = os.getpid()

    def leave(self) -> None:
        """End it, as soon as it has returned."""
        self.calls.put(None)

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
