"""Attempts of tasks that have a row: started together, completed together.

    start (one guarded statement for the batch) ─▶ attempt ─▶ group commit ─▶ finish

Whatever does not go straight — a guard that did not hold, a failure, something to commit — goes one
by one, on the way that it goes under stock arq.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import arq
from sqlalchemy import Row

from uow.attempt.answer import answer, handing_back
from uow.attempt.attempt import TAKEN_OVER, TakenOver, attempt, run_held
from uow.attempt.delivery import Delivery
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.attempt.settle import record, retention_of
from uow.attempt.solo import Occupied
from uow.broker.claims import NO_RESULT, Action
from uow.db.failures import refuses
from uow.errors import TaskFailed
from uow.failpoints import reach
from uow.fast import job_log
from uow.fast.completions import Completion, Completions
from uow.fast.engine import Engine
from uow.tasks.context import RunningTask
from uow.tasks.function import TaskFunction
from uow.tasks.outcome import Completed
from uow.tasks.retry import decide
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

_rng = random.Random()  # noqa: S311 - spreads returns, guards nothing


@dataclass(frozen=True, slots=True)
class Delivered:
    """A held job of a task that has a row."""

    held: Held
    delivery: Delivery
    row_id: UUID


class Attempts:
    """Runs batches of deliveries.

    Args:
        on_death: Called when the group commit ends by an error of its own.
    """

    def __init__(
        self, engine: Engine, runtime: Runtime, on_death: Callable[[BaseException], None] | None
    ) -> None:
        self._engine = engine
        self._runtime = runtime
        self.completions = Completions(
            runtime.db,
            lambda done: self._was_settled(done.delivered, done.began),
            self._refuse,
            on_death,
        )

    async def start(self, batch: list[Delivered]) -> None:
        """Start the attempts of a batch, each in its slot."""
        runtime, engine = self._runtime, self._engine
        try:
            runtime.solo.enter(len(batch))
        except Occupied:
            self._put_back(batch)
            return
        try:
            rows = await self._write_start(batch)
        except Exception as error:
            for one in batch:
                runtime.solo.leave()
                engine.spawn(one.held, self._finish(one, _failing(error)))
            return
        for one in batch:
            row = rows.get(one.row_id)
            if row is not None:
                engine.spawn(one.held, self._finish(one, self._attempt(one, row)))
            else:
                runtime.solo.leave()
                engine.spawn(one.held, self._finish(one, self._one_by_one(one)))

    def _put_back(self, batch: list[Delivered]) -> None:
        """Put what a suspect keeps out to where it stood: another process may have it at once."""
        for one in batch:
            held = one.held
            self._engine.finish(held, held.finish("again", held.place, held.payload))

    async def _write_start(self, batch: list[Delivered]) -> dict[UUID, Row[Any]]:
        """The rows of those that were started: none if one of them is refused, so one by one."""
        runtime = self._runtime
        reach("claimed")
        reach("leased")
        ids = sorted(one.row_id for one in batch)
        try:
            found = await runtime.db.execute_once(
                runtime.db.queries.start_many,
                {"ids": ids, "worker": runtime.worker},
                limit=runtime.settings.start_limit,  # no lease is kept for longer without a start
            )
        except Exception as error:
            if not refuses(error):
                raise
            logger.warning("%d tasks are started one by one: %s", len(ids), one_line(error))
            return {}
        reach("started")
        return {row.id: row for row in found}

    async def _one_by_one(self, one: Delivered) -> None:
        """The guard did not hold: a settled task, one that is not due, or one that runs."""
        await run_held(self._runtime, self._context(one), one.delivery, one.row_id)

    async def _attempt(self, one: Delivered, row: Row[Any]) -> TakenOver | None:
        job_log.started(one.delivery)
        began = time.time()

        def later(function: TaskFunction[Any, Any], task: RunningTask, done: Completed) -> None:
            one.held.ends = True
            kept = retention_of(self._runtime, function)
            self.completions.add(Completion(one, function, task, done.result.decode(), kept, began))

        is_ours = one.delivery.job_id == str(one.row_id)  # a stock client waits for more
        try:
            outcome = await attempt(
                self._runtime, self._context(one), one.row_id, row, later if is_ours else None
            )
        finally:
            self._runtime.solo.leave()
        if isinstance(outcome, TakenOver):
            return outcome
        reach("settled")
        if is_ours and isinstance(outcome, Completed):
            await self._runtime.flush_pushes()
            self._was_settled(one, began)
            return TAKEN_OVER
        await answer(self._runtime, one.delivery, one.row_id, outcome)
        return None

    async def _finish(self, one: Delivered, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` and let Redis do what comes of it."""
        held, engine = one.held, self._engine
        action: Action = "done"
        number = NO_RESULT
        try:
            with handing_back(self._runtime, one.delivery):
                if isinstance(await work, TakenOver):
                    return
        except arq.Retry as again:
            engine.jobs_retried += 1
            action, number = "again", again.defer_score or held.place
        except asyncio.CancelledError:
            engine.jobs_retried += 1
            action, number = "again", held.place
        except TaskFailed:
            engine.jobs_failed += 1
        else:
            engine.jobs_complete += 1
        payload = held.payload if action == "again" else b""
        engine.finish(held, held.finish(action, number, payload))

    def _was_settled(self, one: Delivered, began: float) -> None:
        held = one.held
        self._engine.jobs_complete += 1
        job_log.completed(one.delivery, began)
        self._engine.finish(held, held.finish("settled"))

    async def _refuse(self, completion: Completion, error: Exception) -> None:
        async def recorded() -> None:
            outcome = decide(error, completion.task.tries, completion.function.policy, _rng)
            written = await record(self._runtime, completion.function, completion.task, outcome)
            await answer(self._runtime, one.delivery, one.row_id, written)

        one = completion.delivered
        await self._finish(one, recorded())

    def _context(self, one: Delivered) -> dict[Any, Any]:
        return {**self._engine.ctx, **one.delivery.context}


async def _failing(error: Exception) -> None:
    raise error
