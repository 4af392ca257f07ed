"""The fast worker of `uow.main.WorkerSettings`: it knows what a task is.

A job that goes straight takes a short way (`uow.fast.batches`, `uow.fast.rowless`); a stock
client's durable job, an unknown name and bytes that are no job go as they go under stock arq.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from arq.typing import WorkerCoroutine
from arq.worker import Function

from uow.attempt.delivery import Delivery, row_id_of
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.broker.claims import Claimed
from uow.fast.batches import Batches, Delivered
from uow.fast.finisher import LIMIT
from uow.fast.rowless import RowlessAttempts
from uow.fast.worker import FastWorker
from uow.tasks.jobs import is_anything_due, told


class TaskWorker(FastWorker):
    """Runs tasks.

    The startup hook finds this worker in ``ctx["engine"]``.
    """

    def __init__(
        self, functions: Sequence[Function | WorkerCoroutine] = (), **options: Any
    ) -> None:
        super().__init__(functions, **options)
        self.ctx["engine"] = self
        self._batches: set[asyncio.Task[None]] = set()
        self._attempts: Batches | None = None

    @property
    def runtime(self) -> Runtime:
        """What the startup hook has made."""
        runtime: Runtime = self.ctx["runtime"]
        return runtime

    @property
    def may_claim(self) -> bool:
        """Whether jobs may be claimed at all: none while a suspect is alone here."""
        return super().may_claim and not self.runtime.solo.is_reserved

    async def check_rights(self) -> None:
        """The startup hook does it: our tasks need more."""

    async def begin_serving(self) -> None:
        """The startup hook has run."""
        self.runtime.solo.on_free = self._intake.wake
        die: Callable[[BaseException], None] = self.ctx["die"]
        await self.end_serving()  # of a former run, whose completions are its own
        self._attempts = Batches(self, self.runtime, die)
        self._rowless = RowlessAttempts(self, self.runtime, self.keep_result_s)
        await self._attempts.completer.commits.start()

    async def end_serving(self) -> None:
        """Let end what was begun, and commit it."""
        while self._batches or self.tasks:
            await asyncio.wait([*self._batches, *self.tasks.values()])
        if self._attempts is not None:
            await self._attempts.completer.commits.flush()
            await self._attempts.completer.commits.stop()

    def is_full(self) -> bool:
        """Whether too much waits for Redis or Postgres."""
        waiting = 0 if self._attempts is None else len(self._attempts.completer.commits)
        return waiting >= LIMIT or super().is_full()

    def start_claimed(self, jobs: Iterable[tuple[Claimed, Held]]) -> None:
        """Start what has a row together; the rest one by one."""
        batch: list[Delivered] = []
        for claimed, held in jobs:
            delivery = self._read(claimed, held)
            if delivery is None:
                self.spawn(held, self.run_as_arq(claimed, held))
            elif delivery.row_id is None:
                self.spawn(held, self._rowless.run(held, delivery))
            else:
                held.task_id = delivery.row_id
                batch.append(Delivered(held, delivery, delivery.row_id))
        if batch:
            self.starting += len(batch)  # now: the next claim may come before the task's first step
            task = self.loop.create_task(self._start(batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    async def _start(self, batch: list[Delivered]) -> None:
        assert self._attempts is not None  # noqa: S101 - we serve
        try:
            await self._attempts.start(batch)
        finally:
            self.starting -= len(batch)

    def _read(self, claimed: Claimed, held: Held) -> Delivery | None:
        """The delivery of a task that goes straight; None: all others."""
        if claimed.payload is None or not claimed.job_id.isascii():
            return None
        data = self.job_deserializer(claimed.payload)  # type: ignore[misc] # ours never raises
        row_id = row_id_of(data["k"])
        function = self.runtime.registry.get(data["f"])
        if function is None or (row_id is None and function.durable):
            return None
        enqueued_ms = data["et"] if isinstance(data.get("et"), int) else claimed.score
        starts = max(claimed.starts, data.get("t") or 0, 1)
        return Delivery(
            function.name, held.job_id, row_id, tuple(data["a"]), data["k"],
            claimed.score, enqueued_ms, starts,
        )  # fmt: skip

    async def are_jobs_left(self) -> bool:
        """Whether either store has a due task; stock arq would wait for those that are not, too."""
        pushed = await told(self.ctx["relay"].run_once())
        if pushed is None or not await self._flush():
            return True
        for queue in self.queues:
            if await told(is_anything_due(self.runtime.db, self.pool, queue)) is not False:
                return True
        return bool(pushed or self.tasks or self._batches or self.running)
