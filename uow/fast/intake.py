"""Fills the free slots: waits until something may be due, claims, hands over.

wake ─▶ claim a batch ─▶ the worker starts it ─▶ wait for a push, a free slot or the next due time
"""

import asyncio
import contextlib
from typing import Protocol

from arq.worker import Worker

from uow.broker.claims import BATCH, Claimed
from uow.broker.wakeup import POLL_SECONDS
from uow.fast import company
from uow.fast.claimer import Claimer

SAFETY_SECONDS = 10.0
"""Seconds between two looks at a queue whose changes the server tells us of."""

DUE_MARGIN = 0.005
"""Seconds after which a job that is due is claimed. A dead worker's job is due in the millisecond
in which its lease ends: whoever comes then finds it held, and no other to wait for."""


class Fillable(Protocol):
    """What is filled."""

    @property
    def worker(self) -> Worker:
        """Whose limits hold."""

    @property
    def claimer(self) -> Claimer:
        """What claims."""

    @property
    def is_told(self) -> bool:
        """Whether the server tells us of changes, so that the queue need not be polled."""

    @property
    def free(self) -> int:
        """How many jobs may be started now."""

    @property
    def may_claim(self) -> bool:
        """Whether jobs may be claimed at all."""

    def is_full(self) -> bool:
        """Whether too much is unfinished to claim more."""

    async def accept(self, jobs: list[Claimed]) -> None:
        """Start what was claimed."""

    async def is_done(self) -> bool:
        """Whether nothing is left to wait for; asked after each claim."""


class Intake:
    """Keeps the slots of one worker filled.

    Attributes:
        wants_slots: Whether a slot that is free again is to wake it.
    """

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._ended_by: BaseException | None = None
        self.wants_slots = True

    def wake(self) -> None:
        """Look at the queues now; in the loop's thread."""
        self._woken.set()

    def end(self, error: BaseException) -> None:
        """Let `serve` raise `error`."""
        self._ended_by = error
        self._woken.set()

    async def serve(self, what: Fillable) -> None:
        """Claim and hand over until the worker is done."""
        while True:
            if self._ended_by is not None:
                error, self._ended_by = self._ended_by, None
                raise error
            self._woken.clear()
            wait = await self._claim(what)
            if await what.is_done():
                return
            if what.worker.burst:
                wait = min(wait, POLL_SECONDS)  # what it waits for may be somebody else's to do
            if wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
            await company.expected(lambda: 0 < what.free < what.worker.max_jobs / 4)

    async def _claim(self, what: Fillable) -> float:
        """Claim for the free slots; returns how long to wait before the next look."""
        free = what.free
        self.wants_slots = True
        if what.is_full():
            return POLL_SECONDS
        if free <= 0 or not what.may_claim:
            return SAFETY_SECONDS
        at_most = min(free, what.worker.queue_read_limit)
        found = await what.claimer.claim(at_most)
        if found.jobs:
            await what.accept(found.jobs)
        if len(found.jobs) == free:
            return SAFETY_SECONDS  # the next free slots wake us
        if len(found.jobs) == at_most:
            return 0.0
        self.wants_slots = False
        if found.more or len(found.jobs) >= BATCH:
            return 0.0
        poll = SAFETY_SECONDS if what.is_told else POLL_SECONDS
        return poll if found.wait is None else min(found.wait + DUE_MARGIN, poll)
