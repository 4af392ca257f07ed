"""One attempt: what stands between arq and the task function, under either worker.

`run` is what arq calls. A job with a row goes this way:

    hold the lease -> start (guarded) -> perform -> settle (guarded) -> answer to arq

The row decides at both guards, so a job that is delivered twice, late, or after its task was
settled does no harm. A crash before the commit leaves nothing; a crash after it is a redelivery
that finds the task settled.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from uow.attempt import foreign
from uow.attempt.answer import (
    answer,
    fail_unstarted,
    hand_back,
    handing_back,
    shielded,
    tell_no_attempt,
)
from uow.attempt.delivery import Delivery
from uow.attempt.perform import OtherVersion, interruption, perform
from uow.attempt.rescue import start, start_over
from uow.attempt.rowless import run_without_row
from uow.attempt.running import Held
from uow.attempt.runtime import Host, Runtime
from uow.attempt.settle import record, settle
from uow.attempt.solo import NotAlone, patience_of
from uow.attempt.strays import wait_started, wait_without_row
from uow.attempt.work import work_of
from uow.broker import codec
from uow.db.transitions import SUSPECT_DEATHS
from uow.errors import InvalidArguments, ParametersDiffer, StartRefused, UnknownTask
from uow.failpoints import reach
from uow.tasks.after_commit import AfterCommit
from uow.tasks.context import ProcessContext, RunningTask
from uow.tasks.function import TaskFunction
from uow.tasks.outcome import Completed, HandedBack, Outcome
from uow.tasks.retry import HAND_BACK_SECONDS
from uow.telemetry.sentry import isolated

Later = Callable[[TaskFunction[Any, Any], RunningTask, Completed], None]
"""Takes over a completion that has nothing else to commit."""

_rng = random.Random()  # noqa: S311 - spreads retries, guards nothing


class TakenOver:
    """In place of an outcome: somebody else writes the completion."""


TAKEN_OVER = TakenOver()


async def run(host: Host, name: str, ctx: ProcessContext, /, *args: Any, **kwargs: Any) -> object:
    """Run a job of the task function `name`; called by arq.

    Raises:
        arq.Retry: The job is to be delivered again.
        TaskFailed: The task has failed for good.
    """
    delivery = Delivery.from_call(name, ctx, args, kwargs)
    return await isolated(_run(host.runtime, ctx, delivery))


async def _run(runtime: Runtime, ctx: ProcessContext, delivery: Delivery) -> object:
    function = runtime.registry[delivery.name]
    if delivery.row_id is None and not function.durable:
        return await run_without_row(runtime, function, ctx, delivery, _rng)
    with handing_back(runtime, delivery):
        reach("claimed")
        await _run_with_row(runtime, function, ctx, delivery)
    return None


async def _run_with_row(
    runtime: Runtime, function: TaskFunction[Any, Any], ctx: ProcessContext, delivery: Delivery
) -> None:
    try:
        row_id = delivery.row_id or await foreign.adopt(runtime, function, delivery)
    except ParametersDiffer as error:
        await wait_without_row(runtime, delivery, error)
    except InvalidArguments as error:  # a stock client's call that fits no parameters
        raise await foreign.refuse(runtime, delivery, error) from error
    if runtime.leases.holds(delivery.job_id):
        # Taken for dead while it was stopped, this process is delivered what it still runs.
        raise hand_back(HAND_BACK_SECONDS[0])
    async with runtime.leases.holding(_held(runtime, delivery, row_id)):
        await run_held(runtime, ctx, delivery, row_id)


async def run_held(runtime: Runtime, ctx: ProcessContext, delivery: Delivery, row_id: UUID) -> None:
    """Run a job that this process holds, from the start of its attempt to the answer.

    Raises:
        arq.Retry, TaskFailed: As `run`.
    """
    with runtime.solo.entered():
        reach("leased")
        try:
            started = await start(runtime, row_id) or await start_over(runtime, row_id)
        except StartRefused as error:
            await fail_unstarted(runtime, delivery, row_id, error)
            return
        reach("started")
        if started is None:
            await tell_no_attempt(runtime, delivery, row_id)
            return
        outcome = await attempt(runtime, ctx, row_id, started)
    assert not isinstance(outcome, TakenOver)  # noqa: S101 - nobody was offered it
    reach("settled")
    await answer(runtime, delivery, row_id, outcome)


def _held(runtime: Runtime, delivery: Delivery, row_id: UUID) -> Held:
    payload = codec.durable_payload(delivery.name, str(row_id), delivery.enqueued_ms)
    queue = runtime.leases.queue_of(delivery.job_id)
    return Held(delivery.job_id, queue, delivery.score, payload, row_id)


async def attempt(
    runtime: Runtime,
    ctx: ProcessContext,
    row_id: UUID,
    started: Row[Any],
    later: Later | None = None,
) -> Outcome | TakenOver | None:
    """Perform and settle an attempt that has been started and entered.

    Returns:
        What was written to the row; None: somebody else has decided about the task.
    """
    task = RunningTask(
        db=runtime.db,
        id=row_id,
        name=started.name,
        attempt=started.attempt,
        tries=started.tries,
        user_id=started.user_id,
        idempotency_key=str(row_id),
        tick=started.tick,
        after_commit=AfterCommit(started.name, row_id),
    )
    function = runtime.registry.get(started.name)
    if function is None:  # though its job's is known: somebody has renamed the row
        fault = UnknownTask(runtime.registry.no_such(started.name))
        return await wait_started(runtime, None, task, fault)
    if started.deaths >= SUSPECT_DEATHS:
        return await _alone(runtime, ctx, function, task, started.args)
    return await _perform_and_settle(runtime, ctx, function, task, started.args, later)


async def _alone(
    runtime: Runtime,
    ctx: ProcessContext,
    function: TaskFunction[Any, Any],
    task: RunningTask,
    arguments: str,
) -> Outcome | TakenOver | None:
    """Run a suspect without neighbours, or hand it back if they do not end in time."""
    try:
        async with runtime.solo.alone(patience_of(task.attempt)):
            guard = {"id": task.id, "attempt": task.attempt}
            await runtime.db.execute_once(runtime.db.queries.run_alone, guard)
            return await _perform_and_settle(runtime, ctx, function, task, arguments, None)
    except NotAlone as error:
        reason = f"a suspect, and not alone in this process ({error})"
        waiting = HandedBack(_rng.uniform(*HAND_BACK_SECONDS), reason)
        return await record(runtime, function, task, waiting)


async def _perform_and_settle(
    runtime: Runtime,
    ctx: ProcessContext,
    function: TaskFunction[Any, Any],
    task: RunningTask,
    arguments: str,
    later: Later | None,
) -> Outcome | TakenOver | None:
    work = work_of(runtime.db, function, task)
    try:
        context = {**ctx, "db": work, "task": task, "job_try": task.attempt}
        outcome = await perform(function, context, arguments, _rng)
        reach("performed")
        if later is not None and isinstance(outcome, Completed) and not work.needs_commit:
            later(function, task, outcome)
            return TAKEN_OVER
        settled = await shielded(settle(runtime, function, task, work, outcome, _rng))
        reach("committed")
        if isinstance(settled, Completed) and task.after_commit:
            await task.after_commit.call_all(function.timeout)
        return settled
    except OtherVersion as error:
        return await shielded(wait_started(runtime, function, task, error.fault))
    except asyncio.CancelledError:
        # The process is shutting down, or the task was cancelled: the guard tells which.
        interrupted = HandedBack(0.0, "the attempt was interrupted", cause=interruption())
        if await shielded(settle(runtime, function, task, work, interrupted, _rng)) is None:
            return None
        raise
    finally:
        if not work.is_untouched:
            await shielded(work.rollback())
