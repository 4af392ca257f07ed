"""Cron jobs of an arq worker: each tick is one job, however many workers see it.

arq gives each tick a job id of its own, and keeps the id locked for a minute after the job. Who is
late (stopped, its loop blocked, its clock slow) pushes the same tick again, and it is run when the
lock is gone. Here whoever pushes a tick takes a key for an hour, and nobody else pushes that tick;
one that is later than that is left out.

arq runs a job of the start (``run_at_startup``) once per process. Here the processes that start
together are one deploy: whoever is first takes a key, each that starts later keeps it for another
minute, and the first one's clean end gives it back, so that a restart runs the job again.

Jobs that are not unique and have no id of their own are pushed by each process, as arq does it.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from uuid import uuid4

from arq.connections import ArqRedis
from arq.cron import CronJob
from arq.jobs import serialize_job
from arq.utils import timestamp_ms, to_unix_ms

from uow.broker import keys
from uow.broker.arq_ticks import TICKED_MS, ArqTick, push_tick
from uow.broker.scripts import caller
from uow.fast.arq.times import ArqTimes, zone_of
from uow.schedules.wallclock import WallClock

logger = logging.getLogger(__name__)

LATEST = timedelta(milliseconds=TICKED_MS) - timedelta(minutes=1)
"""A tick that is later is left out: nobody would remember that it was run. The minute is for the
time between a round's look at the clock and its pushes."""

DEPLOY_MS = 60_000
"""Processes that start within this of each other are one deploy."""


class Ticks:
    """Pushes the cron jobs of one worker. Their `next_run` is kept as arq keeps it.

    Args:
        zone: Whose clocks the times are of; None: this machine's.
        queue: Where they are pushed.

    Raises:
        SettingsError: `TZ` names no zone that we know, and there are cron jobs.

    Attributes:
        zone: Whose clocks the times are of.
    """

    def __init__(self, cron_jobs: Sequence[CronJob], zone: tzinfo | None, queue: str) -> None:
        self.zone = zone_of(zone) if cron_jobs else zone or UTC
        self._cron_jobs = cron_jobs
        self._clock = WallClock(self.zone)
        self._queue = queue
        self._who = uuid4().hex

    async def push_due(self, redis: ArqRedis, now: datetime, until: datetime) -> None:
        """Push the ticks before `until`, and jobs of the start when asked for the first time.

        A tick is pushed again in the next round if Redis has not answered.
        """
        now = now.astimezone(UTC)
        for cron_job in self._cron_jobs:
            if cron_job.next_run is not None:
                await self._push_due_of(cron_job, redis, now, until)
                continue
            if cron_job.run_at_startup:
                await self._push(cron_job, redis, now, now, at_start=True)
            cron_job.next_run = self._next(cron_job, now)

    async def forget_start(self, redis: ArqRedis) -> None:
        """A start after this one's end runs the jobs of the start that this one has pushed."""
        for cron_job in self._cron_jobs:
            guard = self._guard_of_start(cron_job)
            if cron_job.run_at_startup and await redis.get(guard) == self._who.encode():
                await redis.delete(guard)

    async def _push_due_of(
        self, cron_job: CronJob, redis: ArqRedis, now: datetime, until: datetime
    ) -> None:
        tick = cron_job.next_run
        assert tick is not None  # noqa: S101 - the caller has looked
        if tick < now - LATEST:
            logger.warning("%s: what was due since %s is left out: too late", cron_job.name, tick)
            tick = cron_job.next_run = self._next(cron_job, now - LATEST)
        while tick < until:
            await self._push(cron_job, redis, tick, now)
            tick = cron_job.next_run = self._next(cron_job, tick)

    async def _push(
        self,
        cron_job: CronJob,
        redis: ArqRedis,
        tick: datetime,
        now: datetime,
        *,
        at_start: bool = False,
    ) -> None:
        if not cron_job.unique and not cron_job.job_id:
            due = tick if tick > now else None
            await redis.enqueue_job(cron_job.name, _queue_name=self._queue, _defer_until=due)
            return
        one = self._tick(cron_job, redis, tick, now)
        if at_start:
            guard = self._guard_of_start(cron_job)
            one = replace(one, guard=guard, guarded_ms=DEPLOY_MS)
        await push_tick(caller(redis), one)

    def _tick(self, cron_job: CronJob, redis: ArqRedis, tick: datetime, now: datetime) -> ArqTick:
        """What is pushed; with arq's id, unless the job has one, and with arq's bytes."""
        name = f"{cron_job.job_id or cron_job.name}:{to_unix_ms(tick)}"
        early_ms = max(to_unix_ms(tick) - to_unix_ms(now), 0)
        serialized = serialize_job(
            cron_job.name, (), {}, None, timestamp_ms(), serializer=redis.job_serializer
        )
        return ArqTick(
            queue=self._queue,
            job_id=cron_job.job_id or name,
            score=to_unix_ms(now) + early_ms,
            payload=serialized,
            lives_ms=early_ms + redis.expires_extra_ms,
            guard=keys.ticked(name),
            guarded_ms=TICKED_MS,
            who=self._who,
            # A stock worker has run it. The lock of an id that is used again says nothing.
            unless=() if cron_job.job_id else (keys.in_progress(name),),
        )

    def _guard_of_start(self, cron_job: CronJob) -> str:
        return keys.started(self._queue, cron_job.job_id or cron_job.name)

    def _next(self, cron_job: CronJob, moment: datetime) -> datetime:
        return ArqTimes(self._clock, cron_job).next_after(moment)
