"""What an arq worker does beside running jobs: its health record, cron jobs and aborts."""

import asyncio
import contextlib
from datetime import datetime, timedelta
from typing import Any

from arq.worker import Worker

from worker.broker.redis import AWAY
from worker.execution.running import Running
from worker.fast.aborts import Aborts
from worker.fast.ticks import skip_those_done

BUSY_SECONDS = 0.5
"""Seconds between two looks at cron jobs and aborts: arq's own poll."""


class UpkeepWorker(Worker):
    """An arq worker whose upkeep is a task of its own, so that no outage and no load holds it up.

    Attributes:
        running: What this process runs.
        aborts: What clients want aborted.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.running = Running()
        self.aborts = Aborts()
        self._upkeep: asyncio.Task[None] | None = None

    async def begin_upkeep(self) -> None:
        """Do it once, and from now on again and again."""
        await self._keep_up_once()  # cron jobs of the start, before a burst looks what is left
        self._upkeep = asyncio.create_task(self._keep_up(), name="worker.upkeep")

    def check_upkeep(self) -> None:
        """Raise the error by which it has ended, if it has: that ends the worker, as with arq."""
        if self._upkeep is not None and self._upkeep.done():
            self._upkeep.result()

    async def end_upkeep(self) -> None:
        """End it, if it was begun."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.wait([self._upkeep], timeout=1)

    async def run_cron(self, n: datetime, delay: float, num_windows: int = 2) -> None:
        """Push the cron jobs that are about to be due, except ticks that have been run."""
        until = n + timedelta(seconds=delay * num_windows)
        await skip_those_done(self.pool, self.cron_jobs, until)
        await super().run_cron(n, delay, num_windows)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(BUSY_SECONDS)
            await self._keep_up_once()

    async def _keep_up_once(self) -> None:
        with contextlib.suppress(*AWAY):
            await self.heart_beat()
            if self.allow_abort_jobs and self.tasks:
                await self._cancel_aborted_jobs()

    async def _cancel_aborted_jobs(self) -> None:
        """Cancel what runs and is to be aborted."""
        for job_id in await self.aborts.among(self.pool, self.running):
            if (task := self.job_tasks.get(job_id)) is not None:
                self.aborting_tasks.add(job_id)
                task.cancel()
