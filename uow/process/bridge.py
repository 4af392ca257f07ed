"""The way of an attempt's thread into the event loop, for as long as the attempt lasts.

A thread cannot be stopped from outside. So what it has of the attempt goes through here: each
statement runs on the event loop while the thread waits for it, and when the attempt is over the
next one is refused.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from uow.errors import SessionError

T = TypeVar("T")


class AttemptOverInThread(BaseException):
    """What `uow.AttemptOver` says, to a thread that goes on after its attempt has ended.

    No `Exception`: what a function catches so as to go on with the next of its items would keep the
    thread going for ever.
    """


OVER = (
    "the attempt of this thread has ended (it was interrupted, or its time was over): nothing that "
    "it still does is stored. Let this error leave the function"
)


class Bridge:
    """Open from the start of one attempt's thread to the end of the attempt.

    Made on the loop.

    Args:
        loop: Where work runs.
    """

    __slots__ = ("_is_closed", "_loop", "_loops_thread", "_one", "_under_way")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._loops_thread = threading.get_ident()
        self._is_closed = False
        self._one = threading.Lock()
        self._under_way: _Crossing[Any] | None = None

    # -- in the thread -----------------------------------------------------------------------------

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` on the loop, in a copy of the thread's context, and wait for it.

        Raises:
            AttemptOverInThread: The attempt has ended.
            SessionError: Another thread waits for something of the same attempt.
        """
        self.refuse_if_closed()
        if threading.get_ident() == self._loops_thread:
            raise SessionError(
                'ctx["db"] and ctx["task"] of a def are used on the event loop, which would wait '
                "for itself: use them in the function's thread"
            )
        if not self._one.acquire(blocking=False):
            raise SessionError(
                'two threads use one attempt\'s ctx["db"] or ctx["task"] at once: one statement '
                "runs at a time, so let the thread that runs the task function do it"
            )
        try:
            crossing = _Crossing(work)
            self._loop.call_soon_threadsafe(self._begin, crossing)
            crossing.answered.acquire()
        except RuntimeError:  # the loop is closed
            raise AttemptOverInThread(OVER) from None
        finally:
            self._one.release()
        return crossing.outcome()

    def refuse_if_closed(self) -> None:
        """Raise if the attempt has ended.

        Raises:
            AttemptOverInThread: It has.
        """
        if self._is_closed:
            raise AttemptOverInThread(OVER)

    # -- on the loop -------------------------------------------------------------------------------

    @property
    def is_crossed(self) -> bool:
        """Whether the thread waits for something here."""
        return self._one.locked()

    def close(self) -> None:
        """Refuse whatever comes from now on."""
        self._is_closed = True

    async def interrupt(self, seconds: float) -> None:
        """Interrupt what is under way, and wait for its end, `seconds` at most."""
        crossing = self._under_way
        if crossing is not None and crossing.task is not None:
            crossing.task.cancel()
            await asyncio.wait([crossing.task], timeout=seconds)

    def _begin(self, crossing: "_Crossing[Any]") -> None:
        if self._is_closed:
            crossing.error = AttemptOverInThread(OVER)
            crossing.answered.release()
            return
        self._under_way = crossing
        crossing.task = self._loop.create_task(self._carry(crossing))

    async def _carry(self, crossing: "_Crossing[Any]") -> None:
        try:
            crossing.result = await crossing.work()
        except BaseException as error:
            crossing.error = error
            if self._is_closed:  # what it ran into is that it was interrupted
                crossing.error = AttemptOverInThread(OVER)
        finally:
            self._under_way = None
            crossing.answered.release()


class _Crossing(Generic[T]):
    """One piece of work, which its thread waits for."""

    __slots__ = ("answered", "error", "result", "task", "work")

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.work = work
        self.task: asyncio.Task[None] | None = None
        self.result: T | None = None
        self.error: BaseException | None = None
        self.answered = threading.Lock()
        self.answered.acquire()

    def outcome(self) -> T:
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # whose traceback leads back here
        return self.result  # type: ignore[return-value] # it was answered
