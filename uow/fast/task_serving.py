"""One run of a worker of tasks.

A job that goes straight takes a short way (`uow.fast.batches`, `uow.fast.rowless`); a stock
client's durable job, an unknown name and bytes that are no job go as they go under stock arq.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from arq.worker import Worker

from uow.attempt.delivery import Delivery, row_id_of, taken_headers
from uow.attempt.running import Held
from uow.attempt.runtime import Host
from uow.broker.claims import Claimed
from uow.fast.arq.aborts import Aborts
from uow.fast.batches import Batches, Delivered
from uow.fast.custody import Custody
from uow.fast.engine import Engine
from uow.fast.finisher import LIMIT
from uow.fast.rowless import RowlessAttempts
from uow.fast.serving import Serving
from uow.fast.slots import Slots
from uow.tasks.context import ProcessContext
from uow.tasks.jobs import is_anything_due, told


class TaskHost(Host, Protocol):
    """The process in which a `TaskWorker` runs."""

    async def start(self, ctx: ProcessContext, body: Custody | None = None, /) -> None:
        """Start what lives with the process, on `body`; instead of the startup hook."""

    async def push_due(self) -> int:
        """Push what is due and not in Redis; returns how much."""

    def die(self, cause: BaseException, /) -> None:
        """Stop because of `cause`."""


class TaskServing(Serving):
    """Runs tasks.

    Args:
        engine: The worker, as attempts see it.
        process: What it runs in.
    """

    def __init__(
        self,
        worker: Worker,
        custody: Custody,
        slots: Slots,
        aborts: Aborts,
        *,
        engine: Engine,
        process: TaskHost,
    ) -> None:
        super().__init__(worker, custody, slots, aborts)
        self._process = process
        self._runtime = process.runtime
        self._attempts = Batches(engine, self._runtime, process.die)
        self._rowless = RowlessAttempts(engine, self._runtime, worker.keep_result_s)
        self._batches: set[asyncio.Task[None]] = set()

    async def begin(self, wake: Callable[[], None]) -> None:
        """Start the group commit.

        Args:
            wake: Called when a suspect is alone here no more.
        """
        self._runtime.solo.on_free = self._runtime.calling.threads.on_return = wake
        await self._attempts.completer.commits.start()

    @property
    def may_claim(self) -> bool:
        """Whether jobs may be claimed at all: none while a suspect is alone here."""
        return super().may_claim and not self._runtime.solo.is_reserved

    @property
    def free(self) -> int:
        """How many jobs may be started now; threads that go on after their attempt keep slots."""
        return super().free - self._runtime.calling.threads.outliving

    def is_full(self) -> bool:
        """Whether too much waits for Redis or Postgres."""
        return len(self._attempts.completer.commits) >= LIMIT or super().is_full()

    def start_claimed(self, jobs: Iterable[tuple[Claimed, Held]]) -> None:
        """Start what has a row together; the rest one by one."""
        batch: list[Delivered] = []
        for claimed, held in jobs:
            delivery = self._read(claimed, held)
            if delivery is None:
                self.slots.spawn(held, self.run_as_arq(claimed, held))
            elif delivery.row_id is None:
                self.slots.spawn(held, self._rowless.run(held, delivery))
            else:
                held.task_id = delivery.row_id
                batch.append(Delivered(held, delivery, delivery.row_id))
        if batch:
            # Counted now: the next claim may come before the first step of the asyncio task.
            self.slots.starting += len(batch)
            task = asyncio.get_running_loop().create_task(self._start(batch))
            self._batches.add(task)
            task.add_done_callback(self._batches.discard)

    async def idle(self) -> None:
        """Wait for what still runs, or is about to."""
        while self._batches or self.worker.tasks:
            await asyncio.wait([*self._batches, *self.worker.tasks.values()])

    async def end(self) -> None:
        """Let end what was begun, and commit it."""
        commits = self._attempts.completer.commits
        try:
            await self.idle()
            await commits.flush()
        finally:  # also if somebody has no more patience with what runs
            await commits.stop()

    def give_up(self) -> None:
        """Tell of attempts whose end could not be written."""
        self._attempts.completer.give_up()

    async def are_jobs_left(self) -> bool:
        """Whether either store has a due task; stock arq would wait for those that are not, too."""
        pushed = await told(self._process.push_due())
        if pushed is None or not await self.custody.flush():
            return True
        for queue in self.custody.queues:
            due = await told(is_anything_due(self._runtime.db, self.worker.pool, queue))
            if due is not False:
                return True
        left = pushed or self.worker.tasks or self._batches or self.custody.running
        return bool(left)

    async def _start(self, batch: list[Delivered]) -> None:
        try:
            await self._attempts.start(batch)
        finally:
            self.slots.starting -= len(batch)

    def _read(self, claimed: Claimed, held: Held) -> Delivery | None:
        """The delivery of a task that goes straight; None: all others."""
        if claimed.payload is None or not claimed.job_id.isascii():
            return None
        data = self.worker.job_deserializer(claimed.payload)  # type: ignore[misc] # never raises
        row_id = row_id_of(data["k"])
        function = self._runtime.registry.get(data["f"])
        if function is None or (row_id is None and function.durable):
            return None
        enqueued_ms = data["et"] if isinstance(data.get("et"), int) else claimed.score
        starts = max(claimed.starts, data.get("t") or 0, 1)
        return Delivery(
            function.name, held.job_id, row_id, tuple(data["a"]), data["k"],
            claimed.score, enqueued_ms, starts, taken_headers(data["k"]),
        )  # fmt: skip
