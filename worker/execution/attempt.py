"""One attempt: what stands between arq and the task function, under either worker.

`run` is what arq calls. A job with a row goes this way:

    hold the lease -> start (guarded) -> perform -> settle (guarded) -> answer to arq

The row decides at both guards, so a job that is delivered twice, late, or after its task was
settled does no harm. A crash before the commit leaves nothing; a crash after it is a redelivery
that finds the task settled.
"""

import asyncio
import logging
import random
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from worker.broker import codec
from worker.errors import InvalidArguments
from worker.execution import foreign
from worker.execution.answer import answer, hand_back, shielded
from worker.execution.context import ProcessContext, RunningTask
from worker.execution.definition import TaskFunction
from worker.execution.delivery import Delivery
from worker.execution.lease import Held
from worker.execution.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Retrying,
    Snoozed,
)
from worker.execution.perform import perform
from worker.execution.retry import HAND_BACK_SECONDS, decide
from worker.execution.runtime import Runtime
from worker.execution.unit_of_work import SeparateBlocks, UnitOfWork, Work
from worker.execution.without_row import run_without_row
from worker.failpoints import reach

logger = logging.getLogger("worker.attempt")

_rng = random.Random()  # noqa: S311 - spreads retries, guards nothing


async def run(name: str, ctx: ProcessContext, /, *args: Any, **kwargs: Any) -> object:
    """Run a job of the task function `name`; called by arq.

    Raises:
        arq.Retry: The job is to be delivered again.
        TaskFailed: The task has failed for good.
    """
    runtime: Runtime = ctx["runtime"]
    function = runtime.registry[name]
    delivery = Delivery.from_call(name, ctx, args, kwargs)
    if delivery.row_id is None and not function.durable:
        return await run_without_row(runtime, function, ctx, delivery, _rng)
    await _run_with_row(runtime, function, ctx, delivery)
    return None


async def _run_with_row(
    runtime: Runtime, function: TaskFunction[Any, Any], ctx: ProcessContext, delivery: Delivery
) -> None:
    try:
        row_id = delivery.row_id or await foreign.adopt(runtime, function, delivery)
        async with runtime.leases.holding(_held(runtime, delivery, row_id)):
            started = await _start(runtime, row_id)
            if started is None:
                await _answer_without_attempt(runtime, delivery, row_id)
                return
            outcome = await _attempt(runtime, ctx, delivery, row_id, started)
        reach("before_finish")
        await answer(runtime, delivery, row_id, outcome)
    except InvalidArguments as error:  # a stock client's call that fits no parameters
        raise await foreign.refuse(runtime, delivery, error) from error
    except (SQLAlchemyError, OSError) as error:  # not the function's: those are in the outcome
        logger.warning("%s handed back: %s: %s", delivery, type(error).__name__, error)
        raise hand_back(_rng.uniform(*HAND_BACK_SECONDS)) from None


def _held(runtime: Runtime, delivery: Delivery, row_id: UUID) -> Held:
    payload = codec.durable_payload(delivery.name, str(row_id), delivery.enqueued_ms)
    return Held(delivery.job_id, runtime.settings.queue, delivery.score, payload)


async def _start(runtime: Runtime, row_id: UUID) -> Row[Any] | None:
    found = await runtime.db.execute_once(
        runtime.db.queries.start, {"id": row_id, "worker": runtime.worker}
    )
    reach("after_start")
    return found.first()


async def _attempt(
    runtime: Runtime, ctx: ProcessContext, delivery: Delivery, row_id: UUID, started: Row[Any]
) -> Outcome | None:
    """Perform and settle; None: somebody else has decided about the task."""
    function = runtime.registry.get(started.name)
    if function is None:
        return HandedBack(HAND_BACK_SECONDS[1], f"{started.name} is not known here")
    work: Work = (
        UnitOfWork(runtime.db)
        if function.atomic
        else SeparateBlocks(runtime.db, row_id, started.attempt)
    )
    task = RunningTask(
        db=runtime.db,
        id=row_id,
        name=started.name,
        attempt=started.attempt,
        tries=started.tries,
        user_id=started.user_id,
        idempotency_key=str(row_id),
    )
    try:
        outcome = await perform(function, {**ctx, "db": work, "task": task}, started.args, _rng)
        reach("before_commit")
        settled = await shielded(_settle(runtime, function, task, work, outcome))
        reach("after_commit")
        return settled
    except asyncio.CancelledError:
        # The process is shutting down, or the task was cancelled: the guard tells which.
        handed_back = HandedBack(0.0, "the attempt was interrupted")
        if await shielded(_settle(runtime, function, task, work, handed_back)) is None:
            return None
        raise


async def _settle(
    runtime: Runtime,
    function: TaskFunction[Any, Any],
    task: RunningTask,
    work: Work,
    outcome: Outcome,
) -> Outcome | None:
    """Write the outcome under its guard; None if the guard did not hold."""
    if isinstance(outcome, Completed):
        try:
            done = await work.commit_with(
                runtime.db.queries.succeed, {"id": task.id, "result": outcome.result.decode()}
            )
            return outcome if done else None
        except Exception as error:  # a deferred constraint, a lost connection, a lost unit of work
            outcome = decide(error, task.tries, function.policy, _rng)
    await work.rollback()
    return await _record(runtime, task, outcome)


async def _record(runtime: Runtime, task: RunningTask, outcome: Outcome) -> Outcome | None:
    """Write an outcome that is not success. Its guard: not settled, and still this attempt."""
    queries = runtime.db.queries
    guard: dict[str, object] = {"id": task.id, "attempt": task.attempt}
    match outcome:
        case Retrying(delay, error):
            described = codec.describe(error)
            logger.warning("%s %s failed, again in %.1f s: %s: %s", task.name, task.id, delay,
                           described["error_type"], described["message"])  # fmt: skip
            statement, more = queries.retry, {"delay": delay, **described}
        case Failed(error):
            logger.error("%s %s failed for good", task.name, task.id, exc_info=error)
            statement, more = (
                queries.fail,
                {"state": "failed", "counted": 1, **codec.describe(error)},
            )
        case Cancelled(error):
            statement = queries.fail
            more = {"state": "cancelled", "counted": 0, **codec.describe(error)}
        case Snoozed(delay):
            statement, more = queries.hand_back, {"state": "scheduled", "delay": delay}
        case HandedBack(delay, reason):
            logger.warning("%s %s handed back: %s", task.name, task.id, reason)
            statement, more = queries.hand_back, {"state": "queued", "delay": delay}
        case Completed():
            raise AssertionError("success is committed by the unit of work")
    found = await runtime.db.execute_once(statement, {**guard, **more})
    return None if found.first() is None else outcome


async def _answer_without_attempt(runtime: Runtime, delivery: Delivery, row_id: UUID) -> None:
    """The start's guard did not hold: finish a settled or missing task, hand back one not due."""
    found = await runtime.db.execute_once(runtime.db.queries.look_up, {"id": row_id})
    row = found.first()
    if row is None:
        logger.warning("%s has no row: finished without running", delivery)
    elif not row.settled:
        raise hand_back(max(row.wait, 0.0))
    await answer(runtime, delivery, row_id, None)
