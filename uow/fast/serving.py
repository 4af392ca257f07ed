"""What a fast worker does between its start and its end: it runs what was claimed, in its slots."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from arq.typing import WorkerCoroutine
from arq.worker import Function, Worker

from uow import exhaustion
from uow.attempt.running import Held, Running
from uow.broker.claims import NO_RESULT, RETURNS, Action, Claimed, Finish, back_to
from uow.broker.redis import AWAY
from uow.fast.arq.aborts import Aborts
from uow.fast.arq.jobs import ArqJob
from uow.fast.finisher import Finisher
from uow.fast.intake import Intake
from uow.fast.leases import TokenLeases
from uow.telemetry.sentry import isolated

logger = logging.getLogger(__name__)

AFTER_ERROR_MS = 1000
"""How long a job waits that has met an error of the worker's own."""


class ServingWorker(Worker):
    """Fills its slots, and knows when nothing is left; `FastWorker` starts and closes it.

    Attributes:
        running: What is held.
        starting: How many jobs are claimed and have no slot yet.
    """

    leases: TokenLeases
    finisher: Finisher

    def __init__(
        self,
        functions: Sequence[Function | WorkerCoroutine],
        queues: Mapping[str, float] | None,
        **options: Any,
    ) -> None:
        super().__init__(functions, **options)
        self.queues = dict(queues or {self.queue_name: 1.0})
        self.running = Running()
        self.starting = 0
        self._claiming = True
        self._stopping = False
        self._intake = Intake(self)
        self._aborts = Aborts()

    async def begin_serving(self) -> None:
        """The startup hook has run; for a subclass."""

    # -- claiming ----------------------------------------------------------------------------------

    @property
    def claiming(self) -> bool:
        """Whether jobs may be claimed; set from any thread."""
        return self._claiming

    @claiming.setter
    def claiming(self, allowed: bool) -> None:
        self._claiming = allowed
        self.wake()

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

    def is_full(self) -> bool:
        """Whether too much is unfinished to claim more."""
        return self.finisher.is_full

    async def accept(self, jobs: list[Claimed]) -> None:
        """Start what was claimed."""
        if self.allow_abort_jobs:
            await self._aborts.look_up(self.pool, jobs)
        held = [(one, self._hold(one)) for one in jobs]
        self.start_claimed([(one, lease) for one, lease in held if lease is not None])

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
        back = back_to(one.score)
        self.finisher.put(
            Finish(one.queue, one.job_id, one.token, "unrun", back, one.payload or b"")
        )

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Run these jobs on arq's engine: for who turns a worker by hand, as arq's own tests do."""
        await super().start_jobs(job_ids)
        for job_id, task in self.tasks.items():
            task.add_done_callback(partial(self._forget, job_id))

    def _forget(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self.tasks.get(job_id) is task:
            del self.tasks[job_id]

    # -- running -----------------------------------------------------------------------------------

    def start_claimed(self, jobs: Iterable[tuple[Claimed, Held]]) -> None:
        """Run claimed jobs; a subclass may know a faster way for some."""
        for claimed, held in jobs:
            self.spawn(held, self.run_as_arq(claimed, held))

    def spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a slot, as an asyncio task of its own."""
        task = held.runs = self.tasks[held.job_id] = self.loop.create_task(isolated(work))
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
        await job.tell_end(self.after_job_end)

    def finish(self, held: Held, finish: Finish) -> None:
        """Let Redis do what is to become of a job; its slot is free before that."""
        held.ends = True
        self.finisher.put(finish)

    def _was_finished(self, one: Finish) -> None:
        self.leases.let_go(one)
        if one.action in RETURNS:
            self._intake.wake()  # it may be due before what we wait for, and nobody else tells us

    def _slot_is_free(self, held: Held, task: asyncio.Task[None]) -> None:
        self._forget(held.job_id, task)
        if self._intake.wants_slots or self.burst:
            self._intake.wake()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("job %s: an error of the worker's own", held.job_id, exc_info=error)
        if not held.ends and (task.cancelled() or error is not None):
            self._return(held, is_stopped=task.cancelled() and self._stopping)

    def _return(self, held: Held, is_stopped: bool) -> None:
        """Put a job back that nobody has finished; a start that counts bounds how often."""
        action: Action = "unrun" if is_stopped else "again"
        number = held.place if is_stopped else AFTER_ERROR_MS
        self.finish(held, Finish(held.queue, held.job_id, held.token, action, number, held.payload))

    def _is_busy(self) -> bool:
        return len(self.tasks) > self.max_jobs / 4

    def wake(self) -> None:
        """Look at the queues now; from any thread."""
        self.loop.call_soon_threadsafe(self._intake.wake)

    # -- until nothing is left ---------------------------------------------------------------------

    async def is_done(self) -> bool:
        """Whether this is a burst, and nothing is left."""
        return self.burst and not self.tasks and not self.starting and await self._is_drained()

    async def end_serving(self) -> None:
        """Wait for what still runs."""
        while self.tasks:
            await asyncio.wait(self.tasks.values())

    async def are_jobs_left(self) -> bool:
        """Whether the queues hold anything, due or not, as arq's burst mode asks."""
        try:
            await self.finisher.run_once()
            return any([await self.pool.zcard(name) for name in self.queues])
        except AWAY:
            return True

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
