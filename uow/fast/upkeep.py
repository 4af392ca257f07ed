"""What arq does at each look at its queue, and we from time to time: health, cron jobs, aborts."""

from collections.abc import Callable

from arq.worker import Worker

from uow.attempt.running import Running
from uow.broker.redis import AWAY
from uow.fast.arq.aborts import Aborts
from uow.service import Service

INTERVAL_SECONDS = 0.5
"""arq's own pause between two looks; its cron jobs are pushed up to a second ahead."""


class Upkeep(Service):
    """Keeps up what belongs to a worker that is arq's.

    Args:
        on_death: Called when it ends by an error of its own, which ends the worker, as with arq.
    """

    passing = AWAY

    def __init__(
        self,
        worker: Worker,
        running: Running,
        aborts: Aborts,
        on_death: Callable[[BaseException], None],
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._worker = worker
        self._running = running
        self._aborts = aborts

    async def run_once(self) -> None:
        """Record the health, push what cron says, cancel what is to be aborted."""
        worker = self._worker
        await worker.heart_beat()
        if worker.allow_abort_jobs and worker.tasks:
            for job_id in await self._aborts.among(worker.pool, self._running):
                if (task := worker.job_tasks.get(job_id)) is not None:
                    worker.aborting_tasks.add(job_id)
                    task.cancel()
