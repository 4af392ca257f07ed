"""The stock arq worker, whose end is no error, and whose burst mode ends."""

import asyncio

from arq.worker import Worker

from worker.clock import milliseconds, utcnow
from worker.db.database import Database


class StockWorker(Worker):
    """arq's worker, whose end is no error when a job was just being finished."""

    async def close(self) -> None:
        """Wait for what still runs, however it ends, and close everything."""
        if self.tasks:
            await asyncio.wait(self.tasks.values())
            self.tasks.clear()
        await super().close()


class BurstWorker(StockWorker):
    """Ends when neither store has a due task; stock arq would wait for those that are not."""

    async def _poll_iteration(self) -> None:
        pushed = await self.ctx["relay"].run_once()
        await super()._poll_iteration()
        if not pushed and not self.tasks and not await self._is_anything_due():
            self.max_burst_jobs = 0  # which ends arq's loop

    async def _is_anything_due(self) -> bool:
        if await self.pool.zcount(self.queue_name, "-inf", milliseconds(utcnow())):
            return True
        db: Database = self.ctx["db"]
        found = await db.execute_once(db.queries.any_announced, {"queue": self.queue_name})
        return bool(found.scalar_one())
