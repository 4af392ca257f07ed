"""The fast worker: arq's protocol and hooks, another engine.

    wake ─▶ claim a batch ─▶ run each job ─▶ finish in batches
             (one call)       (asyncio task)    (one call)

It is an `arq.Worker` in everything but how jobs are claimed, kept, finished and waited for. Nothing
here is needed for safety: that is in the rows. What a server outage interrupts goes on when the
server is back; the process never ends because of one.
"""

import asyncio
import contextlib
import inspect
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from arq.connections import ArqRedis, create_pool, log_redis_info
from arq.typing import WorkerCoroutine
from arq.worker import Function, Worker

from uow.attempt.running import Held, Running, process_name
from uow.broker.access import check_arq_access
from uow.broker.claims import Finish
from uow.broker.needs import ArqNeeds
from uow.broker.redis import AWAY, server_time
from uow.errors import ServerUnreachable
from uow.fast.arq.aborts import Aborts
from uow.fast.arq.settings_class import OUR_OPTIONS
from uow.fast.arq.ticks import Ticks
from uow.fast.custody import Claims, Custody, Terms
from uow.fast.intake import Intake
from uow.fast.serving import Serving
from uow.fast.slots import Slots
from uow.fast.upkeep import INTERVAL_SECONDS, Upkeep
from uow.settings.parts import LEASE_SECONDS, STALL_LIMIT
from uow.telemetry import subject
from uow.telemetry.logs import listed

logger = logging.getLogger(__name__)

arqs_logger = logging.getLogger("arq.worker")  # for what stock arq says, too

CANCELLATIONS = 50
"""How often `main` is cancelled, a tenth of a second apart: a user's hook may ignore it."""

PATIENCE_SECONDS = 1.0
"""How long each part of `close` waits for a Redis that may be away."""


def _signature() -> inspect.Signature:
    """All that `FastWorker` takes by name, as arq asks for it to read a settings class."""
    arqs = inspect.signature(Worker)
    ours = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in OUR_OPTIONS
    ]
    return arqs.replace(parameters=[*arqs.parameters.values(), *ours])


class FastWorker(Worker):
    """Runs any arq worker's functions.

    It can be run again: with what is open, or after `close` from the beginning. What lives as long
    as it is made with it; the `Custody` is open from the start to the close, and each run has a
    `Serving` of its own.

    Args:
        functions: Those that it runs.
        queues: Names of the queues, with weights: how often each is served first, in proportion.
        lease_seconds: A killed worker's jobs start again within this.
        stall_limit: Seconds after which a blocked event loop counts as dead.
        **options: Those of `arq.Worker`.

    Attributes:
        name: The process's, in leases and in the fleet.
        running: What is held.
        claims: Whether it may claim.
        slots: Where jobs run.
        lease_seconds: As it was given.
        on_death: Called when the process cannot go on; to be set before `main`.
    """

    __signature__ = _signature()

    def __init__(
        self,
        functions: Sequence[Function | WorkerCoroutine] = (),
        *,
        queues: Mapping[str, float] | None = None,
        lease_seconds: float = LEASE_SECONDS,
        stall_limit: float = STALL_LIMIT,
        **options: Any,
    ) -> None:
        super().__init__(functions, **options)
        self.queues = dict(queues or {self.queue_name: 1.0})
        self.name, self.lease_seconds = process_name(), lease_seconds
        self.on_death: Callable[[BaseException], None] | None = None
        self.running, self.claims = Running(), Claims(self.wake)
        self.slots = Slots(self.tasks, lambda: self.max_jobs, self._slot_is_free, self._put_back)
        served = self.queue_name if self.queue_name in self.queues else next(iter(self.queues))
        self._ticks = Ticks(self.cron_jobs, options.get("timezone"), served)
        self.timezone = self._ticks.zone
        self._terms = Terms(
            self.name, self.queues, lease_seconds, stall_limit, self._handle_signals
        )
        self._intake, self._aborts = Intake(), Aborts()
        self._upkeep = Upkeep(self, self.running, self._aborts, self._intake.end)
        self._custody: Custody | None = None
        self._serving: Serving | None = None
        self._given_pool = self._pool
        self._has_started = False

    @property
    def custody(self) -> Custody:
        """What is open."""
        assert self._custody is not None  # noqa: S101 - asked for between the start and the close
        return self._custody

    @property
    def handles_signals(self) -> bool:
        """Whether it is to heed SIGTERM and SIGINT: arq's option `handle_signals`."""
        return self._handle_signals

    @property
    def grace(self) -> float:
        """Seconds that running jobs get when it is told to stop: `job_completion_wait`."""
        return float(self._job_completion_wait)

    async def main(self) -> None:
        """Start, serve until told to stop, or in burst mode until nothing is left."""
        self._has_started = False
        subject.worker_here.set(self.name)
        self._pool = self._pool or self._given_pool or await self._connect()
        names = listed(self.functions)
        arqs_logger.info("Starting worker for %d functions: %s", len(self.functions), names)
        await self.check_rights()
        with contextlib.suppress(*AWAY):
            await log_redis_info(self.pool, arqs_logger.info)
        await self._open()
        self.ctx["redis"] = self.pool
        await self.start_up()
        self._has_started = True
        self._serving = await self.begin_serving()
        with contextlib.suppress(*AWAY):
            await self._upkeep.run_once()  # cron jobs of the start, before a burst ends
        await self._upkeep.start()
        await self._intake.serve(self._serving)
        await self._upkeep.stop()

    async def start_up(self) -> None:
        """Call the startup hook; for a subclass."""
        if self.on_startup:
            await self.on_startup(self.ctx)

    async def begin_serving(self) -> Serving:
        """The startup hook has run; for a subclass."""
        return Serving(self, self.custody, self.slots, self._aborts)

    async def check_rights(self) -> None:
        """Find out now, and not in the middle of a batch, what Redis does not let us do.

        Raises:
            SettingsError: Something that is needed; with what mends it.
        """
        needs = ArqNeeds(
            [*self.queues], self.health_check_key, self.allow_abort_jobs, bool(self.cron_jobs)
        )
        await check_arq_access(self.pool, needs)

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

    async def _open(self) -> None:
        """Have the custody, all of it or none."""
        if self._custody is not None:
            return
        custody = Custody(
            self._terms, self.pool, self.running, self.claims, self._intake,
            self.slots.is_busy, self.on_death,
        )  # fmt: skip
        await custody.open()
        self._custody = custody

    async def close(self) -> None:
        """Hand back what still runs, finish what is done, and close everything.

        It ends after any failure, and whatever a part of it raises, the rest is closed. After a
        start that failed, the error of that is the one to be heard: those of the close are logged.
        """
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        await self._end_main()
        if self._pool is None:
            return
        try:
            await self._close()
        except Exception:
            if self._has_started:
                raise
            logger.exception("the start has failed, and closing what there was has, too")

    async def _close(self) -> None:
        async with contextlib.AsyncExitStack() as rest:
            rest.push_async_callback(self._leave_redis)
            rest.push_async_callback(self._close_custody)
            if self.on_shutdown:
                rest.push_async_callback(self.on_shutdown, self.ctx)
            await self._end_jobs()

    async def _end_main(self) -> None:
        """Serve no more: a claim that still comes must not open again what is closed."""
        main = self.main_task
        if main is None or main is asyncio.current_task():
            return
        for _ in range(CANCELLATIONS):
            if main.done():
                return
            main.cancel()  # again, should a library have swallowed it
            await asyncio.wait([main], timeout=0.1)

    async def _end_jobs(self) -> None:
        """Wait for what still runs, but for no Redis that is away, and finish what is done."""
        ending = asyncio.ensure_future(self._end_serving())
        custody = self._custody
        try:
            while not (await asyncio.wait([ending], timeout=PATIENCE_SECONDS))[0]:
                if custody is not None and not await custody.flush():
                    custody.finisher.give_up()
            if custody is not None:
                await custody.flush()
            await ending
        finally:
            ending.cancel()
            if self._serving is not None:
                self._serving.give_up()

    async def _end_serving(self) -> None:
        await (self.slots.emptied() if self._serving is None else self._serving.end())

    async def _close_custody(self) -> None:
        custody, self._custody, self._serving = self._custody, None, None
        try:
            await self._upkeep.stop()
        finally:  # also if this is cancelled: it holds leases and connections
            if custody is not None:
                await custody.close()

    async def _leave_redis(self) -> None:
        pool, self._pool, self.slots.stopping = self.pool, None, False
        with contextlib.suppress(TimeoutError, *AWAY):
            async with asyncio.timeout(PATIENCE_SECONDS):  # the pool may have no limit of its own
                await pool.delete(self.health_check_key)
                await self._ticks.forget_start(pool)
        await pool.aclose(close_connection_pool=True)

    def handle_sig(self, signum: signal.Signals) -> None:
        """Stop: what is interrupted from now on burns no try."""
        self.slots.stopping = True
        self.running.interrupt_all()
        super().handle_sig(signum)

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        """Stop when what runs has ended, or its time is over."""
        self.slots.stopping = True
        super().handle_sig_wait_for_completion(signum)

    # -- as attempts see it ------------------------------------------------------------------------

    def spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the job's slot."""
        self.slots.spawn(held, work)

    def finish(self, held: Held, finish: Finish) -> None:
        """Let Redis do what is to become of a job; its lease runs out if all is closed already."""
        held.ends = True
        if self._custody is not None:
            self._custody.finish(held, finish)

    def wake(self) -> None:
        """Look at the queues now; from any thread."""
        self.loop.call_soon_threadsafe(self._intake.wake)

    def _slot_is_free(self) -> None:
        if self._intake.wants_slots or self.burst:
            self._intake.wake()

    def _put_back(self, held: Held, is_stopped: bool) -> None:
        if self._custody is not None:
            self._custody.put_back(held, is_stopped)

    # -- as arq turns it ---------------------------------------------------------------------------

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Run these jobs on arq's engine: for who turns a worker by hand, as arq's own tests do."""
        await super().start_jobs(job_ids)
        self.slots.watch()

    async def heart_beat(self) -> None:
        """Record the health, and push the cron jobs that are about to be due."""
        await self.record_health()
        if self.cron_jobs:
            await self.run_cron(await server_time(self.pool), INTERVAL_SECONDS)

    async def run_cron(self, n: datetime, delay: float, num_windows: int = 2) -> None:
        """Push the ticks of cron jobs before `n` and `num_windows` times `delay` seconds."""
        await self._ticks.push_due(self.pool, n, n + timedelta(seconds=delay * num_windows))
