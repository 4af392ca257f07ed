"""One base for every loop that keeps things turning.

A service repeats `run_once` until it is stopped. Starting twice, stopping twice and stopping
before the start are all legal. An error that a subclass names as passing (`passing`) is logged
and the loop goes on after a pause that grows to a cap; any other error ends the service and is
handed to `on_death`, because a loop that dies in silence is an outage nobody sees.
"""

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from uow import exhaustion

logger = logging.getLogger(__name__)

PAUSE_AFTER_ERROR = 0.5
"""Seconds before the first repeat after a passing error; doubled each time."""

PAUSE_CAP = 1.0
"""Seconds between repeats at most: a server that came back is noticed within this."""


class Service(ABC):
    """A loop with a name, which can be started, stopped, woken, or run once by hand.

    Args:
        interval: Seconds between two rounds when nobody calls `wake`.
        on_death: Called with the error when the loop ends by one that is not passing.

    Attributes:
        paused: While this says so, rounds are left out.
    """

    passing: tuple[type[Exception], ...] = ()
    """Errors that pass by themselves: a server that is away, a connection that was cut."""

    pause_after_error = PAUSE_AFTER_ERROR
    pause_cap = PAUSE_CAP

    report_seconds = 0.0
    """Between two lines about errors that pass, at least."""

    def __init__(
        self, interval: float, on_death: Callable[[BaseException], None] | None = None
    ) -> None:
        self.interval = interval
        self.on_death = on_death
        self.paused: Callable[[], bool] = _never
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reported_at = float("-inf")

    @property
    def name(self) -> str:
        """What logs call this service."""
        return type(self).__name__.lower()

    @abstractmethod
    async def run_once(self) -> object:
        """One round; public, so that a test or a drain can run it without the loop."""

    def wake(self) -> None:
        """Run the next round now instead of waiting for the timer."""
        self._wake.set()

    async def start(self) -> None:
        """Start the loop, unless it runs."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"uow.{self.name}")

    async def stop(self) -> None:
        """Stop the loop, if it runs, and wait until it has ended."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()  # again, should a library have swallowed it
            await asyncio.wait([task], timeout=0.1)

    async def _run(self) -> None:
        try:
            await self._loop()
        except Exception as error:
            logger.critical("%s ended by an error", self.name, exc_info=True)
            if self.on_death is not None:
                self.on_death(error)

    async def _loop(self) -> None:
        pause = self.pause_after_error
        while True:
            self._wake.clear()
            try:
                if not self.paused():
                    await self.run_once()
            except self.passing as error:
                self._report(error, pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self.pause_cap)
                continue
            pause = self.pause_after_error
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.interval):
                    await self._wake.wait()

    def _report(self, error: Exception, pause: float) -> None:
        now = time.monotonic()
        told = now - self._reported_at < self.report_seconds
        if told or exhaustion.here.explains(error) is not None:
            return
        self._reported_at = now
        logger.warning("%s: %s: %s; again in %.1f s",
                       self.name, type(error).__name__, error, pause)  # fmt: skip


def _never() -> bool:
    return False
