"""Keeps the leases of what this process runs under stock arq.

Stock arq locks a job for as long as its longest task may run; a killed worker's jobs would wait
that long. So an attempt shortens its lock to our lease and this service renews all of them, and
puts back what a Redis that lost its data has forgotten about running jobs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from uow.attempt.running import Held, Running
from uow.broker import scripts
from uow.broker.redis import AWAY, RedisClient
from uow.service import Service
from uow.settings.parts import BEATS_PER_LEASE


class StockLeases(Service):
    """The leases of this process's running jobs.

    Args:
        redis: For the first hold, in the attempt's event loop.
        heart_redis: For the renewals, which may be in another one.
        queue: The one that arq serves.
        lease_seconds: How long a job stays locked after its worker has died.
    """

    passing = AWAY

    def __init__(
        self,
        running: Running,
        redis: RedisClient,
        heart_redis: RedisClient,
        queue: str,
        lease_seconds: float,
    ) -> None:
        super().__init__(interval=lease_seconds / BEATS_PER_LEASE)
        self._running = running
        self._redis = redis
        self._heart_redis = heart_redis
        self._queue = queue
        self._lease_seconds = lease_seconds

    def queue_of(self, job_id: str) -> str:
        """Stock arq serves one queue."""
        return self._queue

    def holds(self, job_id: str) -> bool:
        """Whether this process runs the job already."""
        return job_id in self._running

    @contextlib.asynccontextmanager
    async def holding(self, held: Held) -> AsyncIterator[None]:
        """Hold the lease of a job while the block runs.

        Redis being away is no reason not to run: the row decides who may commit.
        """
        held.runs = asyncio.current_task()
        self._running.add(held)
        try:
            with contextlib.suppress(*self.passing):
                await self._hold(self._redis, held)
            yield
        finally:
            self._running.remove(held.job_id)

    async def run_once(self) -> None:
        """Extend every lease; put back what Redis has forgotten of what runs.

        What is gone may have been finished since we looked who runs: so we look again before
        anything is put back, or a job that has ended would run again.
        """
        for held in self._running.all():
            renewed = await scripts.renew(
                self._heart_redis, held.queue, held.job_id, self._lease_seconds
            )
            if not renewed and self._running.get(held.job_id) is held:
                await self._hold(self._heart_redis, held)

    async def _hold(self, redis: RedisClient, held: Held) -> None:
        await scripts.hold(
            redis,
            queue=held.queue,
            job_id=held.job_id,
            score=held.score,
            payload=held.payload,
            lease_seconds=self._lease_seconds,
        )
