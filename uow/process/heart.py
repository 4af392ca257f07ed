"""Runs what must not stop on a thread with an event loop of its own.

A task that blocks the process's event loop for some seconds is a fault, but no reason to take the
process for dead: its heartbeat and its leases are kept from here. They end when the loop has not
turned for `WORKER_STALL_LIMIT`: then the process is as good as dead, and others go on with its
tasks. A blocked loop is reported together with the place that blocks it. So is, by its end, a
process that has nothing left to work with (`uow.exhaustion`).
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from uow import exhaustion
from uow.process import forks
from uow.service import Service

T = TypeVar("T")

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
"""How often the process's event loop shows that it turns."""

REPORT_SECONDS = 1.0
"""A loop that is blocked for longer is reported."""


class Heart(Service):
    """The thread, and the watch over the process's event loop.

    Args:
        stall_limit: Seconds without a turn of the loop after which it counts as dead.
        name_of: Says what an asyncio task of the process runs.
        signals: Whether the process's signals are the worker's, too.

    Attributes:
        on_blocked: Called, on this thread, when the loop turns again: with how many seconds it has
            not, and by what.
    """

    def __init__(
        self,
        stall_limit: float,
        name_of: "Callable[[asyncio.Task[Any] | None], str]",
        *,
        signals: bool = True,
    ) -> None:
        super().__init__(interval=REPORT_SECONDS / 2)
        self.on_blocked: Callable[[float, str], object] | None = None
        self._name_of = name_of
        self._stall_limit = stall_limit
        self._signals = signals
        self._ticked = self._turned = time.monotonic()
        self._blocked_since: float | None = None
        self._blocked_by = ""
        self._ticking: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._turn, name="uow.process.heart", daemon=True)

    async def begin(self) -> None:
        """Start the thread; called in the event loop that is to be watched."""
        self._own_loop = asyncio.new_event_loop()
        self._watched = asyncio.get_running_loop()
        self._watched_thread = threading.get_ident()
        forks.keep_from(self._watched, signals=self._signals)
        self._tick()
        try:
            self._thread.start()
        except RuntimeError:  # this process may have no more
            self._stop_ticking()
            self._own_loop.close()
            raise
        await self.run(self.start())

    async def end(self) -> None:
        """Stop the thread, if it runs; its services have been stopped."""
        if not self._thread.is_alive():
            return
        await self.run(self.stop())
        self._stop_ticking()
        self._own_loop.call_soon_threadsafe(self._own_loop.stop)
        forks.release(self._watched)
        await self._ended.wait()  # a thread of the pool may not be had: tasks may hold them all
        self._thread.join()
        self._own_loop.close()

    async def keep(self, service: Service) -> Callable[[], Awaitable[None]]:
        """Let `service` run here; returns what stops it."""
        service.paused = self.is_stalled
        await self.run(service.start())
        return lambda: self.run(service.stop())

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the heart's event loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._own_loop))

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call `callback` in the heart's event loop, from any thread."""
        self._own_loop.call_soon_threadsafe(callback)

    def is_stalled(self) -> bool:
        """Whether the process's event loop counts as dead."""
        return self.lag > self._stall_limit

    @property
    def lag(self) -> float:
        """Seconds since the process's event loop should have turned."""
        return time.monotonic() - self._ticked - TICK_SECONDS

    @property
    def silence(self) -> float:
        """Seconds since the heart itself should have turned."""
        return time.monotonic() - self._turned - self.interval

    async def run_once(self) -> None:
        """Report a loop that is blocked, once, and that it turns again; end what cannot go on."""
        self._turned = time.monotonic()
        if self.on_death is not None and (error := exhaustion.here.hopeless()) is not None:
            self.on_death(error)
            self.on_death = None
        if self.lag > REPORT_SECONDS and self._blocked_since is None:
            self._blocked_since, self._blocked_by = self._ticked, self._blocker()
            logger.warning("the event loop is blocked by %s", self._blocked_by)
        elif self.lag <= REPORT_SECONDS and self._blocked_since is not None:
            blocked = self._ticked - self._blocked_since
            self._blocked_since = None
            logger.warning("the event loop turns again; it was blocked for %.1f s", blocked)
            if self.on_blocked is not None:
                self.on_blocked(blocked, self._blocked_by)

    def _tick(self) -> None:
        self._ticked = time.monotonic()
        self._ticking = self._watched.call_later(TICK_SECONDS, self._tick)

    def _stop_ticking(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()

    def _turn(self) -> None:
        asyncio.set_event_loop(self._own_loop)
        forks.keep_from(self._own_loop, signals=self._signals)
        self._own_loop.run_forever()
        self._watched.call_soon_threadsafe(self._ended.set)

    def _blocker(self) -> str:
        who = self._name_of(asyncio.current_task(self._watched))
        frame = sys._current_frames().get(self._watched_thread)  # noqa: SLF001 - the only way
        return who if frame is None else f"{who} in {_place(frame)}"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
