"""The leases of claimed jobs: one heartbeat extends them all.

A lease is arq's own in-progress key with our token in it. A key that is gone is taken again; only
somebody else's token is a lost lease: then the attempt is cancelled, and what it did is rolled
back.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial

from uow.attempt.running import Held, Running
from uow.broker.claims import BATCH, Claimed, Finish, extend, retake
from uow.broker.redis import AWAY
from uow.broker.scripts import Call
from uow.interruption import interrupt
from uow.service import Service
from uow.settings.parts import BEATS_PER_LEASE

logger = logging.getLogger(__name__)


class TokenLeases(Service):
    """The leases of what this process runs; lives on the heart's thread.

    Args:
        call: Runs a script in the heart's event loop.
        call_soon: Calls something in the event loop in which the jobs run.
    """

    passing = AWAY

    def __init__(
        self,
        running: Running,
        call: Call,
        lease_seconds: float,
        call_soon: Callable[[Callable[[], object]], object],
    ) -> None:
        super().__init__(interval=lease_seconds / BEATS_PER_LEASE)
        self._running = running
        self._call = call
        self._lease_ms = int(lease_seconds * 1000)
        self._call_soon = call_soon

    def hold(self, claimed: Claimed) -> Held | None:
        """Hold a claimed job; None: it runs here already, and its lease had got lost.

        Raises:
            UnicodeDecodeError: It is no job: its id is no text.
        """
        job_id = claimed.job_id.decode()
        running = self._running.get(job_id)
        if running is not None and not running.ends:
            running.token = claimed.token
            return None
        payload = claimed.payload or b""
        held = Held(job_id, claimed.queue, claimed.score, payload, token=claimed.token)
        self._running.add(held)
        return held

    def let_go(self, finish: Finish) -> None:
        """The job is finished, unless it has been claimed again meanwhile."""
        if isinstance(finish.job_id, str):
            held = self._running.get(finish.job_id)
            if held is not None and held.token == finish.token:
                self._running.remove(held.job_id)

    def queue_of(self, job_id: str) -> str:
        """The queue that a held job was claimed from."""
        held = self._running.get(job_id)
        assert held is not None  # noqa: S101 - what is delivered is held
        return held.queue

    def holds(self, job_id: str) -> bool:
        """No delivery is one too many: the claim has looked."""
        return False

    @contextlib.asynccontextmanager
    async def holding(self, held: Held) -> AsyncIterator[None]:
        """The claim holds the job; from now on its task can be found, too."""
        claimed = self._running.get(held.job_id)
        if claimed is not None:
            claimed.task_id, claimed.payload = held.task_id, held.payload or claimed.payload
            claimed.runs = asyncio.current_task()
        yield

    async def run_once(self) -> None:
        """Extend every lease; put back what Redis has forgotten of what runs."""
        held = self._running.all()
        for at in range(0, len(held), BATCH):
            await self._extend({one.job_id: one for one in held[at : at + BATCH]})

    async def _extend(self, held: dict[str, Held]) -> None:
        jobs = [(one.queue, one.job_id, one.token) for one in held.values()]
        foreign, gone = await extend(self._call, jobs, self._lease_ms)
        for job_id in foreign:
            self._lose(held[job_id])
        for job_id in gone:
            if self._is_running(held[job_id]) and not await self._retake(held[job_id]):
                self._lose(held[job_id])

    async def _retake(self, held: Held) -> bool:
        return await retake(
            self._call, held.queue, held.job_id, held.token, held.payload, self._lease_ms
        )

    def _lose(self, held: Held) -> None:
        if self._is_running(held):
            logger.warning("job %s: its lease was lost to another worker", held.job_id,
                           extra=held.fields())  # fmt: skip
            if held.runs is not None:
                self._call_soon(partial(interrupt, held.runs))

    def _is_running(self, held: Held) -> bool:
        return self._running.get(held.job_id) is held and not held.ends
