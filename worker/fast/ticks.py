"""Cron jobs of an arq worker, each tick once.

arq gives each tick a job id of its own, and keeps the id locked for a minute after the job. Who is
late (stopped, or its loop blocked) pushes the same tick again, and it is run when the lock is gone.
Ours remember for an hour which ticks have been run, and do not push those.
"""

from collections.abc import Sequence
from datetime import datetime

from arq.connections import ArqRedis
from arq.cron import CronJob
from arq.utils import to_unix_ms

from worker.broker import keys


async def skip_those_done(redis: ArqRedis, cron_jobs: Sequence[CronJob], until: datetime) -> None:
    """Let each cron job go on from its first tick that has not been run, or runs."""
    for cron_job in cron_jobs:
        while (tick := _unique_tick(cron_job)) is not None and tick < until:
            job_id = f"{cron_job.name}:{to_unix_ms(tick)}"
            if not await redis.exists(keys.ticked(job_id), keys.in_progress(job_id)):
                break
            cron_job.calculate_next(tick)


def _unique_tick(cron_job: CronJob) -> datetime | None:
    return cron_job.next_run if cron_job.unique and not cron_job.job_id else None
