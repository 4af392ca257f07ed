"""Fills the free slots: waits until something may be due, claims, hands over.

wake ─▶ claim a batch ─▶ the worker starts it ─▶ wait for a push, a free slot or the next due time
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from uow.broker.claims import BATCH, Claimed
from uow.broker.wakeup import POLL_SECONDS
from uow.fast import company
from uow.fast.claimer import Claimer

SAFETY_SECONDS = 10.0
"""Seconds between two looks at a queue whose changes the server tells us of."""

DUE_MARGIN = 0.005
"""Seconds after which a job that is due is claimed. A dead worker's job is due in the millisecond
in which its lease ends: whoever comes then finds it held, and no other to wait for."""


class Slots(Protocol):
    """What the intake needs of the worker whose slots it fills."""

    max_jobs: int
    queue_read_limit: int
    burst: bool

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
    """Keeps the slots of one worker filled."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
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

    async def serve(self, claimer: Claimer, is_told: Callable[[], bool]) -> None:
        """Claim and hand over until the worker is done.

        Args:
            is_told: Whether the server tells us of changes, so that the queue need not be polled.
        """
        while True:
            if self._ended_by is not None:
                error, self._ended_by = self._ended_by, None
                raise error
            self._woken.clear()
            wait = await self._claim(claimer, is_told)
            if await self._slots.is_done():
                return
            if self._slots.burst:
                wait = min(wait, POLL_SECONDS)  # what it waits for may be somebody else's to do
            if wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
            await company.expected(lambda: 0 < self._slots.free < self._slots.max_jobs / 4)

    async def _claim(self, claimer: Claimer, is_told: Callable[[], bool]) -> float:
        """Claim for the free slots; returns how long to wait before the next look."""
        free = self._slots.free
        self.wants_slots = True
        if self._slots.is_full():
            return POLL_SECONDS
        if free <= 0 or not self._slots.may_claim:
            return SAFETY_SECONDS
        at_most = min(free, self._slots.queue_read_limit)
        found = await claimer.claim(at_most)
        if found.jobs:
            await self._slots.accept(found.jobs)
        if len(found.jobs) == free:
            return SAFETY_SECONDS  # the next free slots wake us
        if len(found.jobs) == at_most:
            return 0.0
        self.wants_slots = False
        if found.more or len(found.jobs) >= BATCH:
            return 0.0
        poll = SAFETY_SECONDS if is_told() else POLL_SECONDS
        return poll if found.wait is None else min(found.wait + DUE_MARGIN, poll)
