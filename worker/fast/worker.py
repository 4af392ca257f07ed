"""The fast worker: arq's protocol and hooks, another engine.

    wake ─▶ claim a batch ─▶ run each job ─▶ finish in batches
             (one call)       (asyncio task)    (one call)

It is an `arq.Worker` in everything but how jobs are claimed, kept, finished and waited for. Nothing
here is needed for safety: that is in the rows. What a server outage interrupts goes on when the
server is back; the process never ends because of one.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from arq.connections import ArqRedis, create_pool, log_redis_info
from arq.worker import Worker

from worker import exhaustion
from worker.broker.claims import NO_RESULT, RETURNS, Claimed, Finish
from worker.broker.redis import AWAY, SOCKET_TIMEOUT, apart, have_connection, server_time
from worker.broker.scripts import caller
from worker.broker.wakeup import WatchedConnection
from worker.errors import ServerUnreachable
from worker.execution.running import Held, Running, process_name
from worker.fast.aborts import Aborts
from worker.fast.arq_jobs import ArqJob
from worker.fast.arq_ticks import Ticks
from worker.fast.claimer import Claimer
from worker.fast.finisher import Finisher
from worker.fast.intake import Intake
from worker.fast.leases import TokenLeases
from worker.fast.upkeep import INTERVAL_SECONDS, Upkeep
from worker.heart import Heart
from worker.settings import LEASE_SECONDS, STALL_LIMIT

logger = logging.getLogger("worker.fast")

arqs_logger = logging.getLogger("arq.worker")  # for what stock arq says, too


class FastWorker(Worker):
    """Runs any arq worker's functions.

    Args:
        queues: Names of the queues, with weights: how often each is served first, in proportion.
        lease_seconds: A killed worker's jobs start again within this.
        stall_limit: Seconds after which a blocked event loop counts as dead.
        **options: Those of `arq.Worker`.
    """

    def __init__(
        self,
        *,
        queues: Mapping[str, float] | None = None,
        lease_seconds: float = LEASE_SECONDS,
        stall_limit: float = STALL_LIMIT,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.queues = dict(queues or {self.queue_name: 1.0})
        served = self.queue_name if self.queue_name in self.queues else next(iter(self.queues))
        self._ticks = Ticks(self.cron_jobs, options.get("timezone"), served)
        self.timezone = self._ticks.zone
        self.running = Running()
        self.heart = Heart(stall_limit, self.running.describe)
        self.name = process_name()
        self._claiming = True
        self._lease_seconds = lease_seconds
        self._intake = Intake(self)
        self._cleanup = contextlib.AsyncExitStack()
        self._aborts = Aborts()
        self.starting = 0
        self._upkeep = Upkeep(self, self.running, self._aborts, self._intake.end)
        self._is_open = False
        self._stopping = False

    # -- life --------------------------------------------------------------------------------------

    async def main(self) -> None:
        """Start, serve until told to stop, or in burst mode until nothing is left."""
        self._pool = self._pool or await self._connect()
        names = ", ".join(self.functions)
        arqs_logger.info("Starting worker for %d functions: %s", len(self.functions), names)
        with contextlib.suppress(*AWAY):
            await log_redis_info(self.pool, arqs_logger.info)
        await self._open()
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        await self.begin_serving()
        with contextlib.suppress(*AWAY):
            await self._upkeep.run_once()  # cron jobs of the start, before a burst ends
        await self._upkeep.start()
        self._cleanup.push_async_callback(self._upkeep.stop)
        await self._intake.serve(self._claimer, lambda: self._watched.is_told)

    async def _connect(self) -> ArqRedis:
        try:
            return await create_pool(
                self.redis_settings,
                job_deserializer=self.job_deserializer,
                job_serializer=self.job_serializer,
                default_queue_name=self.queue_name,
                expires_extra_ms=self.expires_extra_ms,
            )
        except AWAY as error:
            raise ServerUnreachable(f"no Redis ({error}): is redis_settings right?") from error

    async def begin_serving(self) -> None:
        """The startup hook has run; for a subclass."""

    async def end_serving(self) -> None:
        """Wait for what still runs."""
        while self.tasks:
            await asyncio.wait(self.tasks.values())

    def is_full(self) -> bool:
        """Whether too much is unfinished to claim more."""
        return self.finisher.is_full

    async def _open(self) -> None:
        """The connections and services of the engine."""
        self._is_open = True
        redis, beats = apart(self.pool), apart(self.pool)
        self._cleanup.push_async_callback(redis.aclose)
        self._watched = WatchedConnection(redis, self.queues, self._intake.wake)
        self._cleanup.push_async_callback(self._watched.stop)
        await self._watched.start()
        await self.heart.begin()
        self._cleanup.push_async_callback(self.heart.end)
        self._cleanup.push_async_callback(lambda: self.heart.run(beats.aclose()))
        await self.heart.run(have_connection(beats))
        self.leases = TokenLeases(
            self.running, caller(beats), self._lease_seconds, self.loop.call_soon_threadsafe
        )
        self._cleanup.push_async_callback(await self.heart.keep(self.leases))
        call = self._watched.run
        self._claimer = Claimer(call, self.queues, self._lease_seconds, self.name, self._give_back)
        self.finisher = Finisher(call, self._was_finished, self._is_busy)
        await self.finisher.start()
        self._cleanup.push_async_callback(self.finisher.stop)

    async def close(self) -> None:
        """Hand back what still runs, finish what is done, and close everything."""
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        if self._pool is None:
            return
        await self.end_serving()
        if self._is_open:
            await self._flush()
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self._cleanup.aclose()
        with contextlib.suppress(TimeoutError, *AWAY):
            async with asyncio.timeout(SOCKET_TIMEOUT):  # the pool may have no limit of its own
                await self.pool.delete(self.health_check_key)
                await self._ticks.forget_start(self.pool)
        await self.pool.close(close_connection_pool=True)
        self._pool = None

    @property
    def claiming(self) -> bool:
        """Whether jobs may be claimed; set from any thread."""
        return self._claiming

    @claiming.setter
    def claiming(self, allowed: bool) -> None:
        self._claiming = allowed
        self.wake()

    # -- claiming ----------------------------------------------------------------------------------

    @property
    def may_claim(self) -> bool:
        """Whether jobs may be claimed at all."""
        return self.allow_pick_jobs and self.claiming and not exhaustion.here.lasts()

    @property
    def free(self) -> int:
        """How many jobs may be started now."""
        free = self.max_jobs - len(self.tasks) - self.starting
        if self.burst and self.max_burst_jobs >= 0:
            free = min(free, self.max_burst_jobs - self._jobs_started())
        return free

    async def accept(self, jobs: list[Claimed]) -> None:
        """Start what was claimed."""
        if self.allow_abort_jobs:
            await self._aborts.look_up(self.pool, jobs)
        held = [(one, self._hold(one)) for one in jobs]
        self.start_claimed([(one, lease) for one, lease in held if lease is not None])

    async def is_done(self) -> bool:
        """Whether this is a burst, and nothing is left."""
        return self.burst and not self.tasks and not self.starting and await self._is_drained()

    def _hold(self, claimed: Claimed) -> Held | None:
        """Hold a claimed job; None: it runs here already, or is none."""
        try:
            return self.leases.hold(claimed)
        except UnicodeDecodeError:
            logger.warning("the queue has an entry that is no job id: %r", claimed.job_id)
            one = Finish(claimed.queue, claimed.job_id, claimed.token, "done", NO_RESULT)
            self.finisher.put(one)
            return None

    def _give_back(self, one: Claimed) -> None:
        back = -max(one.score, 0)  # to where it stood
        self.finisher.put(
            Finish(one.queue, one.job_id, one.token, "unrun", back, one.payload or b"")
        )

    # -- running -----------------------------------------------------------------------------------

    def start_claimed(self, jobs: Iterable[tuple[Claimed, Held]]) -> None:
        """Run claimed jobs; a subclass may know a faster way for some."""
        for claimed, held in jobs:
            self.spawn(held, self.run_as_arq(claimed, held))

    def spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a slot, as an asyncio task of its own."""
        task = held.runs = self.tasks[held.job_id] = self.loop.create_task(work)
        task.add_done_callback(lambda task: self._slot_is_free(held, task))

    async def run_as_arq(self, claimed: Claimed, held: Held) -> None:
        """Run a job as arq does, and finish it."""
        job = ArqJob(self, claimed, held, lambda: self._stopping, self._aborts.pop(held.job_id))
        finish = await job.run()
        if self.after_job_end is None or not job.ctx:
            self.finish(held, finish)
            return
        held.ends = True
        await self.finisher.finished(finish)
        await self.after_job_end(job.ctx)

    def finish(self, held: Held, finish: Finish) -> None:
        """Let Redis do what is to become of a job; its slot is free before that."""
        held.ends = True
        self.finisher.put(finish)

    def _was_finished(self, one: Finish) -> None:
        self.leases.let_go(one)
        if one.action in RETURNS:
            self._intake.wake()  # it may be due before what we wait for, and nobody else tells us

    def _slot_is_free(self, held: Held, task: asyncio.Task[None]) -> None:
        if self.tasks.get(held.job_id) is task:
            del self.tasks[held.job_id]
        if self._intake.wants_slots or self.burst:
            self._intake.wake()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("job %s: an error of the worker's own", held.job_id, exc_info=error)
        if not held.ends and (task.cancelled() or error is not None):
            again = Finish(held.queue, held.job_id, held.token, "unrun", 1000, held.payload)
            self.finish(held, again)

    def _is_busy(self) -> bool:
        return len(self.tasks) > self.max_jobs / 4

    def wake(self) -> None:
        """Look at the queues now; from any thread."""
        self.loop.call_soon_threadsafe(self._intake.wake)

    def handle_sig(self, signum: signal.Signals) -> None:
        """Stop: what is interrupted from now on burns no try."""
        self._stopping = True
        super().handle_sig(signum)

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        """Stop when what runs has ended, or its time is over."""
        self._stopping = True
        super().handle_sig_wait_for_completion(signum)

    async def heart_beat(self) -> None:
        """Record the health, and push the cron jobs that are about to be due."""
        await self.record_health()
        if self.cron_jobs:
            await self.run_cron(await server_time(self.pool), INTERVAL_SECONDS)

    async def run_cron(self, n: datetime, delay: float, num_windows: int = 2) -> None:
        """Push the ticks of cron jobs before `n` and `num_windows` times `delay` seconds."""
        await self._ticks.push_due(self.pool, n, n + timedelta(seconds=delay * num_windows))

    async def _is_drained(self) -> bool:
        if 0 <= self.max_burst_jobs <= self._jobs_started() or not await self.are_jobs_left():
            await self.end_serving()
            return await self._flush()
        return False

    async def _flush(self) -> bool:
        """Finish what has ended; False while Redis is away."""
        with contextlib.suppress(*AWAY):
            await self.finisher.run_once()
            return True
        return False

    async def are_jobs_left(self) -> bool:
        """Whether the queues hold anything, due or not, as arq's burst mode asks."""
        try:
            await self.finisher.run_once()
            return any([await self.pool.zcard(name) for name in self.queues])
        except AWAY:
            return True
