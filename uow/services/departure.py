"""How a process leaves that was told to."""

import asyncio
import time
from collections.abc import Callable

from arq.connections import ArqRedis

from uow.broker.patient import PatientRedis
from uow.services.leader import Leader
from uow.services.vitals import Vitals

LEAST_SECONDS = 0.5
"""So long anything gets that is to be left, even when the grace is over: the hard end is later."""


class Departure:
    """Nothing is waited for when a process leaves, and nobody is left waiting.

    Args:
        grace: Seconds that running tasks get.
        redis: arq's connection.
        whole: Seconds within which everything else is to have ended, too.

    Attributes:
        patient: The same, unless the process was given one of another kind.
        vitals: What says that it lives; None: nothing has yet.
        leader: Of this process; None: it has none yet.
        has_begun: Whether it was told to.
    """

    vitals: Vitals | None = None
    leader: Leader | None = None
    has_begun = False

    def __init__(self, grace: float, redis: ArqRedis, whole: float) -> None:
        self.patient = redis if isinstance(redis, PatientRedis) else None
        self._grace, self._whole = grace, whole
        self._began = 0.0
        self._loop = asyncio.get_running_loop()
        self._interrupts: asyncio.TimerHandle | None = None
        self._resigns: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Prepare to leave; between two bytecodes of the main thread."""
        if not self.has_begun:
            self.has_begun, self._began = True, time.monotonic()
        if self.patient is not None:
            self.patient.stopping = True
        if self.vitals is None:  # it is only just starting
            return
        call_soon = self._loop.call_soon_threadsafe
        self.vitals.prepare_to_leave()
        call_soon(self._give_grace, self.vitals.running.interrupt_all)
        if self.leader is not None:
            call_soon(self._resign, self.leader)

    def seconds_left(self, most: float) -> float:
        """What something may still take, if `most` is what it gets without a hurry."""
        if not self.has_begun:
            return most
        left = self._began + self._whole - time.monotonic()
        return min(max(left, LEAST_SECONDS), most)

    def end(self) -> None:
        """It has left."""
        if self._interrupts is not None:
            self._interrupts.cancel()

    def _give_grace(self, interrupt_all: Callable[[], None]) -> None:
        self._interrupts = self._loop.call_later(self._grace, interrupt_all)

    def _resign(self, leader: Leader) -> None:
        # Somebody leads who stays; nobody fires ticks while nobody is there to run them.
        self._resigns = asyncio.ensure_future(leader.stop())
