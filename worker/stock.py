"""The stock arq worker, whose end is no error, and whose burst mode ends."""

import asyncio

from arq.worker import Worker

from worker.execution.jobs import is_anything_due


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
        if pushed or self.tasks:
            return
        if not await is_anything_due(self.ctx["db"], self.pool, self.queue_name):
            self.max_burst_jobs = 0  # which ends arq's loop
