"""Attempts of tasks that have a row, started together.

    start (one guarded statement for the batch) ─▶ perform ─▶ group commit ─▶ finish

Whatever does not go straight — a guard that did not hold, a failure, something to commit — goes one
by one, on the way that it goes under stock arq.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple
from uuid import UUID

from uow.attempt.attempt import Attempt
from uow.attempt.delivery import Delivery, HeldJob
from uow.attempt.run import go_on, run_held
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.attempt.solo import Occupied, Seat
from uow.attempt.start import start_many
from uow.db.attempts import Started
from uow.failpoints import reach
from uow.fast import job_log
from uow.fast.engine import Engine
from uow.fast.grouped import Grouped
from uow.fast.slot import answered

logger = logging.getLogger(__name__)


class Delivered(NamedTuple):
    """A held job of a task that has a row."""

    held: Held
    delivery: Delivery
    row_id: UUID


class Batches:
    """Runs batches of deliveries, each in its slot.

    Args:
        on_death: Called when the group commit ends by an error of its own.
    """

    def __init__(
        self, engine: Engine, runtime: Runtime, on_death: Callable[[BaseException], None] | None
    ) -> None:
        self._engine = engine
        self._runtime = runtime
        self.completer = Grouped(engine, runtime, on_death)

    async def start(self, batch: list[Delivered]) -> None:
        """Start the attempts of a batch."""
        runtime = self._runtime
        try:
            runtime.solo.enter(len(batch))
        except Occupied:
            self._put_back(batch)
            return
        try:
            held = await runtime.pauses.hold(runtime.db, [one.row_id for one in batch])
            rows = await self._write_start([one for one in batch if one.row_id not in held])
        except Exception as error:
            for one in batch:
                self._spawn_outside(one, partial(_fail, error))
            return
        for one in batch:
            if (row := rows.get(one.row_id)) is not None:
                self._spawn_attempt(one, row)
            elif one.row_id in held:
                self._leave_out(one)
            else:
                self._spawn_outside(one, partial(self._one_by_one, one))

    def _leave_out(self, one: Delivered) -> None:
        """A pause holds its row back: its job ends, and comes again when the pause is over."""
        self._runtime.solo.leave()
        self._engine.finish(one.held, one.held.finish("done"))

    async def _write_start(self, batch: list[Delivered]) -> dict[UUID, Started]:
        reach("claimed")
        reach("leased")
        if not batch:  # a pause holds all of them back
            return {}
        started = await start_many(self._runtime, [one.row_id for one in batch])
        if started:
            reach("started")
        return started

    def _put_back(self, batch: list[Delivered]) -> None:
        """Put what a suspect keeps out to where it stood: another process may have it at once."""
        for one in batch:
            self._engine.finish(one.held, one.held.back("again"))

    def _spawn_outside(self, one: Delivered, work: Callable[[], Awaitable[None]]) -> None:
        """Run in its slot what has not begun, or begins by itself."""
        self._runtime.solo.leave()
        self._spawn(one, work)

    def _spawn(self, one: Delivered, work: Callable[[], Awaitable[None]]) -> None:
        engine, runtime = self._engine, self._runtime
        engine.spawn(one.held, answered(engine, runtime, one.held, one.delivery, work))

    async def _one_by_one(self, one: Delivered) -> None:
        """The guard did not hold: a settled task, one that is not due, or one that runs."""
        await run_held(self._runtime, self._job(one))

    def _spawn_attempt(self, one: Delivered, row: Started) -> None:
        seat = Seat(self._runtime.solo)
        self._spawn(one, partial(self._attempt, one, row, seat))
        if one.held.runs is not None:  # which may be cancelled before its first step
            one.held.runs.add_done_callback(seat.leave)

    async def _attempt(self, one: Delivered, row: Started, seat: Seat) -> None:
        attempt = Attempt(self._runtime, self._job(one), row, seat)
        job_log.started(one.delivery)
        await go_on(attempt, self.completer)

    def _job(self, one: Delivered) -> HeldJob:
        ctx = {**self._engine.ctx, **one.delivery.context}
        return HeldJob(ctx, one.delivery, one.held)


async def _fail(error: Exception) -> None:
    raise error
