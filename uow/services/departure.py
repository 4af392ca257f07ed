"""How a process leaves that was told to."""

import asyncio
from collections.abc import Callable

from arq.connections import ArqRedis

from uow.broker.patient import PatientRedis
from uow.services.leader import Leader
from uow.services.vitals import Vitals


class Departure:
    """Nothing is waited for when a process leaves, and nobody is left waiting.

    Args:
        grace: Seconds that running tasks get.
        redis: arq's connection.

    Attributes:
        patient: The same, unless the process was given one of another kind.
        vitals: What says that it lives; None: nothing has yet.
        leader: Of this process; None: it has none yet.
        has_begun: Whether it was told to.
    """

    vitals: Vitals | None = None
    leader: Leader | None = None
    has_begun = False

    def __init__(self, grace: float, redis: ArqRedis) -> None:
        self.patient = redis if isinstance(redis, PatientRedis) else None
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._interrupts: asyncio.TimerHandle | None = None
        self._resigns: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Prepare to leave; between two bytecodes of the main thread."""
        self.has_begun = True
        if self.patient is not None:
            self.patient.stopping = True
        if self.vitals is None:  # it is only just starting
            return
        call_soon = self._loop.call_soon_threadsafe
        self.vitals.prepare_to_leave()
        call_soon(self._give_grace, self.vitals.running.interrupt_all)
        if self.leader is not None:
            call_soon(self._resign, self.leader)

    def end(self) -> None:
        """It has left."""
        if self._interrupts is not None:
            self._interrupts.cancel()

    def _give_grace(self, interrupt_all: Callable[[], None]) -> None:
        self._interrupts = self._loop.call_later(self._grace, interrupt_all)

    def _resign(self, leader: Leader) -> None:
        # Somebody leads who stays; nobody fires ticks while nobody is there to run them.
        self._resigns = asyncio.ensure_future(leader.stop())
