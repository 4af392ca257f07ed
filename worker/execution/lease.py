"""Keeps the leases of what this process runs.

Stock arq locks a job for as long as its longest task may run; a killed worker's jobs would wait
that long. So an attempt shortens its lock to our lease and this service renews all of them, and
puts back what a Redis that lost its data has forgotten about running jobs.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from worker.broker import scripts
from worker.broker.redis import AWAY, RedisClient
from worker.service import Service

BEATS_PER_LEASE = 5
"""Renewals, and heartbeats, in the time of a lease: one or two may get lost."""

logger = logging.getLogger("worker.lease")


@dataclass(frozen=True, slots=True)
class Held:
    """A running job."""

    job_id: str
    queue: str
    score: int
    payload: bytes
    task_id: UUID | None = None


class Leases(Service):
    """The running jobs of this process, and the tasks that run them.

    Args:
        lease_seconds: How long a job stays locked after its worker has died.
    """

    passing = AWAY

    def __init__(self, redis: RedisClient, lease_seconds: float) -> None:
        super().__init__(interval=lease_seconds / BEATS_PER_LEASE)
        self._redis = redis
        self._lease_seconds = lease_seconds
        self._held: dict[str, Held] = {}
        self._running: dict[str, asyncio.Task[object]] = {}

    @contextlib.asynccontextmanager
    async def holding(self, held: Held) -> AsyncIterator[None]:
        """Hold the lease of a job while the block runs.

        Redis being away is no reason not to run: the row decides who may commit.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._held[held.job_id], self._running[held.job_id] = held, task
        try:
            with contextlib.suppress(*self.passing):
                await self._extend(held)
            yield
        finally:
            del self._held[held.job_id], self._running[held.job_id]

    def holds(self, job_id: str) -> bool:
        """Whether this process runs the job already."""
        return job_id in self._held

    def task_ids(self) -> list[UUID]:
        """The tasks whose jobs are held."""
        return [held.task_id for held in self._held.values() if held.task_id is not None]

    def interrupt(self, task_id: str) -> None:
        """Stop the attempt that runs the task `task_id` in this process, if there is one.

        By the task's id and not the job's: a stock client may use a job id again.
        """
        for held in self._held.values():
            if str(held.task_id) == task_id:
                logger.info("task %s was cancelled while it ran", task_id)
                self._running[held.job_id].cancel()

    def interrupt_all(self) -> None:
        """Stop every attempt of this process: each hands its job back."""
        for task in self._running.values():
            task.cancel()

    async def run_once(self) -> None:
        """Extend every lease."""
        for held in tuple(self._held.values()):
            if held.job_id in self._held:
                await self._extend(held)

    async def _extend(self, held: Held) -> None:
        await scripts.hold(
            self._redis,
            queue=held.queue,
            job_id=held.job_id,
            score=held.score,
            payload=held.payload,
            lease_seconds=self._lease_seconds,
        )
