"""One run of a fast worker: it starts what was claimed, and knows when nothing is left."""

from collections.abc import Iterable

from arq.worker import Worker

from uow import exhaustion
from uow.attempt.running import Held
from uow.broker.claims import Claimed
from uow.broker.redis import AWAY
from uow.fast.arq.aborts import Aborts
from uow.fast.arq.jobs import ArqJob
from uow.fast.arq.sentry import in_transaction
from uow.fast.claimer import Claimer
from uow.fast.custody import Custody
from uow.fast.slots import Slots


class Serving:
    """Runs each job as arq does.

    Args:
        worker: Whose functions, hooks, limits and counts hold.
        aborts: What is to be aborted.
    """

    def __init__(self, worker: Worker, custody: Custody, slots: Slots, aborts: Aborts) -> None:
        self.worker = worker
        self.custody = custody
        self.slots = slots
        self._aborts = aborts

    @property
    def claimer(self) -> Claimer:
        """What claims."""
        return self.custody.claimer

    @property
    def is_told(self) -> bool:
        """Whether the server tells us of changes, so that the queue need not be polled."""
        return self.custody.watched.is_told

    @property
    def may_claim(self) -> bool:
        """Whether jobs may be claimed at all."""
        allowed = self.worker.allow_pick_jobs and self.custody.claims.claiming
        return allowed and not exhaustion.here.lasts()

    @property
    def free(self) -> int:
        """How many jobs may be started now."""
        free, worker = self.slots.free, self.worker
        if worker.burst and worker.max_burst_jobs >= 0:
            free = min(free, worker.max_burst_jobs - worker._jobs_started())  # noqa: SLF001 - arq's
        return free

    def is_full(self) -> bool:
        """Whether too much is unfinished to claim more."""
        return self.custody.finisher.is_full

    async def accept(self, jobs: list[Claimed]) -> None:
        """Start what was claimed."""
        if self.worker.allow_abort_jobs:
            await self._aborts.look_up(self.worker.pool, jobs)
        held = [(one, self.custody.hold(one)) for one in jobs]
        self.start_claimed([(one, lease) for one, lease in held if lease is not None])

    def start_claimed(self, jobs: Iterable[tuple[Claimed, Held]]) -> None:
        """Run held jobs; a subclass may know a faster way for some."""
        for claimed, held in jobs:
            self.slots.spawn(held, in_transaction(self.run_as_arq(claimed, held), held.queue))

    async def run_as_arq(self, claimed: Claimed, held: Held) -> None:
        """Run a job as arq does, and finish it."""
        aborted_ms = self._aborts.pop(held.job_id)
        job = ArqJob(self.worker, claimed, held, lambda: self.slots.stopping, aborted_ms)
        finish = await job.run()
        if self.worker.after_job_end is None or not job.ctx:
            self.custody.finish(held, finish)
            return
        held.ends = True
        await self.custody.finisher.finished(finish)
        await job.tell_end(self.worker.after_job_end)

    async def is_done(self) -> bool:
        """Whether this is a burst, and nothing is left."""
        return self.worker.burst and self.slots.are_empty() and await self._is_drained()

    async def idle(self) -> None:
        """Wait for what still runs."""
        await self.slots.emptied()

    async def end(self) -> None:
        """Let end what was begun."""
        await self.idle()

    def give_up(self) -> None:
        """It has ended, and what could not be written will not be."""

    async def are_jobs_left(self) -> bool:
        """Whether the queues hold anything, due or not, as arq's burst mode asks."""
        try:
            await self.custody.finisher.run_once()
            return any([await self.worker.pool.zcard(name) for name in self.custody.queues])
        except AWAY:
            return True

    async def _is_drained(self) -> bool:
        worker = self.worker
        has_run_all = 0 <= worker.max_burst_jobs <= worker._jobs_started()  # noqa: SLF001 - arq's
        if has_run_all or not await self.are_jobs_left():
            await self.end()
            return await self.custody.flush()
        return False
