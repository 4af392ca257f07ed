"""The stock arq worker, whose end is no error, and whose burst mode ends."""

import asyncio

from arq.worker import Worker
from redis.exceptions import RedisError

from worker.broker.refusals import is_refusal
from worker.errors import SettingsError
from worker.execution.jobs import is_anything_due


class StockWorker(Worker):
    """arq's worker, whose end is no error when a job was just being finished."""

    async def main(self) -> None:
        """Serve, as arq does.

        Raises:
            SettingsError: Redis has refused something for good; arq does not go on after that.
        """
        try:
            await super().main()
        except RedisError as error:
            if not is_refusal(error):
                raise
            raise SettingsError(
                f"Redis refuses what a worker needs: {error}; look at the rights of its user"
            ) from error

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
