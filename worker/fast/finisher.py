"""Finishes jobs in batches: one call of Redis for many.

What could not be finished, because Redis is away, stays here and its lease is kept. The buffer is
bounded by whoever claims: nothing is claimed while it is full.
"""

import asyncio
import logging
from collections.abc import Callable

from worker.broker.claims import BATCH, RETURNS, Finish, finish
from worker.broker.redis import AWAY
from worker.broker.scripts import Call
from worker.fast import company
from worker.service import Service

logger = logging.getLogger("worker.finisher")

LIMIT = 10 * BATCH
"""Unfinished jobs from which on nothing more is claimed."""


class Finisher(Service):
    """Collects what is to be finished.

    Args:
        on_finished: Called when Redis has done it, or has said that the job is another's by now.
        is_busy: Whether more is likely to end in a moment.
    """

    passing = AWAY

    def __init__(
        self, call: Call, on_finished: Callable[[Finish], None], is_busy: Callable[[], bool]
    ) -> None:
        super().__init__(interval=60.0)
        self._is_busy = is_busy
        self._call = call
        self._on_finished = on_finished
        self._buffer: list[Finish] = []
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._sending = asyncio.Lock()

    @property
    def is_full(self) -> bool:
        """Whether no more should be claimed for now."""
        return len(self._buffer) >= LIMIT

    def put(self, one: Finish) -> None:
        """Finish a job soon."""
        self._buffer.append(one)
        self.wake()

    async def finished(self, one: Finish) -> None:
        """Finish a job and return when Redis has done it."""
        done = self._waiting[_claim_of(one)] = asyncio.get_running_loop().create_future()
        self.put(one)
        await done

    def give_up(self) -> None:
        """Redis is away, and the worker is to end: who waits for it is cancelled."""
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()

    async def run_once(self) -> None:
        """Finish everything that is there."""
        if not any(one.action in RETURNS for one in self._buffer):
            await asyncio.sleep(0)  # a claim goes first: slots wait for its jobs
            await company.expected(self._is_busy)
        async with self._sending:
            while batch := self._buffer[:BATCH]:
                for lost in await finish(self._call, batch):
                    logger.warning("job %r was taken over before it was finished here", lost)
                del self._buffer[: len(batch)]
                for one in batch:
                    self._on_finished(one)
                    if (waiting := self._waiting.pop(_claim_of(one), None)) and not waiting.done():
                        waiting.set_result(None)


def _claim_of(one: Finish) -> str:
    """Which claim it ends: a job that is run again may be finished again before we have heard."""
    return f"{one.token} {one.job_id!r}"
