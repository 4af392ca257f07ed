"""The stock arq worker, whose end is no error, and whose burst mode ends."""

import asyncio
from typing import Any, Protocol

from arq.utils import poll
from arq.worker import Worker
from redis.exceptions import RedisError

from uow.attempt.runtime import Host
from uow.broker.refusals import is_refusal
from uow.errors import SettingsError
from uow.tasks.jobs import is_anything_due, told


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


class BurstHost(Host, Protocol):
    """The process in which a `BurstWorker` runs."""

    async def push_due(self) -> int:
        """Push what is due and not in Redis; returns how much."""


class BurstWorker(StockWorker):
    """Ends when neither store has a due task; stock arq would wait for those that are not.

    Args:
        process: What it runs in.
    """

    def __init__(self, process: BurstHost, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._process = process

    async def _poll_iteration(self) -> None:
        async for _ in poll(self.poll_delay_s):
            if await self._knows_what_is_left():
                return  # and no sooner: arq would end at an empty queue

    async def _knows_what_is_left(self) -> bool:
        """One look, as arq's; False: a store could not tell."""
        pushed = await told(self._process.push_due())
        await super()._poll_iteration()
        if pushed is None or pushed or self.tasks:
            return pushed is not None
        if self._process.runtime.pauses.holds_queue(self.queue_name):
            self.max_burst_jobs = 0
            return True
        due = await told(is_anything_due(self._process.runtime.db, self.pool, self.queue_name))
        if due is False:
            self.max_burst_jobs = 0  # which ends arq's loop
        return due is not None
