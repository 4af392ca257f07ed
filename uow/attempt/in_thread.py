"""Calls a ``def`` in a thread, with what it may have of the attempt.

Its time may be over, or somebody may interrupt the attempt, while the thread runs: a thread cannot
be stopped. Then the attempt ends without it. Its next statement is refused, its connection is ended
and not given back, and its slot stays taken until it returns.
"""

import asyncio
import contextvars
import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from uow.attempt.shield import shielded
from uow.attempt.solo import Solo
from uow.attempt.thread_sessions import sessions_of
from uow.attempt.work import Work
from uow.db.begun_attempt import CANCEL_SECONDS
from uow.errors import InvalidResult
from uow.process.bridge import Bridge
from uow.process.kept import NotCalled
from uow.process.threads import Call, Threads
from uow.tasks.after_commit import Callback
from uow.tasks.context import ProcessContext, RunningTask, SyncRunningTask
from uow.tasks.function import TaskFunction

T = TypeVar("T")

logger = logging.getLogger(__name__)


class InThreads:
    """Calls functions in threads, and knows which of them go on after their attempt.

    Args:
        threads: Where they run.
        solo: Who is inside: a thread that goes on is.

    Attributes:
        outliving: How many threads go on whose attempt has ended.
        on_return: Called when there is one fewer.
    """

    def __init__(self, threads: Threads, solo: Solo) -> None:
        self._threads = threads
        self._solo = solo
        self.outliving = 0
        self.on_return: Callable[[], object] = _nobody

    async def call(
        self, function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: dict[str, Any]
    ) -> object:
        """Call `function`; its result, or what it raises.

        Raises:
            NotCalled: None came free while it might have run.
        """
        bridge, work = Bridge(asyncio.get_running_loop()), ctx["db"]
        given = self._context(ctx, bridge)
        call = await self._begun(functools.partial(function.function, given, **arguments), ctx)
        try:
            await call.ended
        except asyncio.CancelledError:
            bridge.close()
            await shielded(self._go_on_without(call, ctx["task"], bridge, work))
            raise
        await _end(bridge, work)
        return _result(function, call)

    def room(self, slots: int, running: int) -> int | None:
        """How many of `slots` are free beside `running` attempts; None: no thread takes one."""
        return max(slots - running - self.outliving, 0) if self.outliving else None

    async def run(self, function: Callable[[], T], task: RunningTask) -> T:
        """Call something else of the attempt in a thread, beyond their number if there is none."""
        context = contextvars.copy_context()
        call = await self._threads.begin(lambda: context.run(function), waits=False)
        try:
            await call.ended
        except asyncio.CancelledError:
            self._count(call, task)
            raise
        result: T = call.outcome()
        return result

    def close(self) -> None:
        """No function is called any more."""
        self._threads.close()

    async def _begun(self, function: Callable[[], Any], ctx: ProcessContext) -> Call:
        context = contextvars.copy_context()
        try:
            return await self._threads.begin(functools.partial(context.run, function))
        except asyncio.CancelledError:
            raise NotCalled(
                f"no thread came free for {ctx['task'].name}, so it was not called: all of "
                "WORKER_THREADS are in use"
            ) from None

    def _context(self, ctx: ProcessContext, bridge: Bridge) -> "ThreadContext":
        loop = ThreadsLoop(bridge, self, ctx["task"])
        given = ThreadContext(ctx)
        given.pop("redis", None)  # its connections belong to the loop
        given["db"] = sessions_of(ctx["db"], bridge)
        given["task"] = SyncRunningTask.of(ctx["task"], loop)
        return given

    async def _go_on_without(
        self, call: Call, task: RunningTask, bridge: Bridge, work: Work
    ) -> None:
        self._count(call, task, patience=CANCEL_SECONDS if bridge.is_crossed else 0.0)
        await bridge.interrupt(CANCEL_SECONDS)
        await work.drop()

    def _count(self, call: Call, task: RunningTask, *, patience: float = 0.0) -> None:
        """Count a thread that goes on; one that only waits for us is about to return."""
        if call.has_returned:
            return
        self.outliving += 1
        self._solo.stay()
        call.leave(functools.partial(self._returned, call, task))
        if patience:
            asyncio.get_running_loop().call_later(patience, self._name, call, task)
        else:
            self._name(call, task)

    def _name(self, call: Call, task: RunningTask) -> None:
        if not call.has_returned:
            call.is_named = True
            logger.warning("%s %s: its attempt has ended, but its thread goes on, in %s: its slot "
                           "stays taken until that returns",
                           task.name, task.id, call.place)  # fmt: skip

    def _returned(self, call: Call, task: RunningTask) -> None:
        self.outliving -= 1
        self._solo.has_ended()
        self.on_return()
        if call.is_named:
            logger.warning("%s %s: the thread that went on has returned, after %.1f s in all",
                           task.name, task.id, call.seconds)  # fmt: skip


class ThreadContext(dict[Any, Any]):
    """The context in a thread, which says why a key is not there."""

    def __missing__(self, key: object) -> object:
        if key == "redis":
            raise KeyError(
                'redis: its connections belong to the event loop, so a def has no ctx["redis"]: '
                "make a client of your own, or the function an async def"
            )
        raise KeyError(key)


class ThreadsLoop:
    """The event loop, as `ctx["task"]` in a thread knows it."""

    def __init__(self, bridge: Bridge, threads: InThreads, task: RunningTask) -> None:
        self._bridge = bridge
        self._threads = threads
        self._task = task

    def run(self, work: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run `work` on the loop, and wait for it."""
        return self._bridge.run(work)

    def off(self, callback: Callback, /) -> Callback:
        """What calls `callback` in a thread, in the context that it was given in."""
        if inspect.iscoroutinefunction(callback):
            return callback

        @functools.wraps(callback)
        async def called() -> None:
            answer = await self._threads.run(callback, self._task)
            if inspect.isawaitable(answer):
                await answer

        return called


async def _end(bridge: Bridge, work: Work) -> None:
    """The function has returned; another thread of its own may still use what it was given."""
    bridge.close()
    if bridge.is_crossed:
        await shielded(_take_from_another(bridge, work))


async def _take_from_another(bridge: Bridge, work: Work) -> None:
    await bridge.interrupt(CANCEL_SECONDS)
    if work.sessions.open_at is not None:
        await work.drop()


def _result(function: TaskFunction[Any, Any], call: Call) -> object:
    result = call.outcome()
    if not inspect.isawaitable(result):
        return result
    if inspect.iscoroutine(result):
        result.close()
    raise InvalidResult(
        f"{function.name}: a def has returned a {type(result).__name__}, which nobody awaits: make "
        "the function an async def"
    )


def _nobody() -> None:
    pass
