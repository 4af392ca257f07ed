"""Attempts of tasks without a row (``durable=False``): at least once, decided by Redis alone."""

import asyncio
import contextlib
import logging
import random
import time
from typing import Any

from uow.attempt.answer import hand_back, shielded, take_start_back
from uow.attempt.delivery import Delivery
from uow.attempt.perform import OtherVersion, interruption, perform
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.attempt.solo import Occupied
from uow.attempt.strays import waiting_in_redis
from uow.attempt.work import work_of
from uow.broker import codec, keys
from uow.broker.redis import AWAY
from uow.db.failures import PASSING
from uow.errors import ParametersDiffer, TaskFailed
from uow.tasks.after_commit import AfterCommit
from uow.tasks.context import ProcessContext, RunningTask
from uow.tasks.function import TaskFunction
from uow.tasks.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Retrying,
    Snoozed,
    traceback_of,
)
from uow.tasks.retry import MOST_SETBACKS, counted_setback, decide
from uow.telemetry.description import describe, one_line

logger = logging.getLogger(__name__)

SETBACKS_SECONDS = 3600
"""How long Redis remembers a setback of a task without a row; each next one follows in seconds."""


async def run_without_row(
    runtime: Runtime,
    function: TaskFunction[Any, Any],
    ctx: ProcessContext,
    delivery: Delivery,
    rng: random.Random,
) -> object:
    """Run a job that lives in Redis alone; returns its result, which arq keeps.

    Raises:
        arq.Retry: The job is to be delivered again.
        TaskFailed: It has failed for good.
    """
    async with runtime.leases.holding(_held(runtime, delivery)):
        try:
            outcome = await attempt_without_row(runtime, function, ctx, delivery, rng)
        except (asyncio.CancelledError, Occupied):
            await shielded(take_start_back(runtime, delivery))
            raise
    return await _answer(runtime, delivery, outcome)


async def attempt_without_row(
    runtime: Runtime,
    function: TaskFunction[Any, Any],
    ctx: ProcessContext,
    delivery: Delivery,
    rng: random.Random,
) -> Outcome:
    """One attempt, its commit included.

    As with a row, a setback that has come back too often while Postgres answered counts as the
    task's own failure.

    Raises:
        asyncio.CancelledError: It was interrupted.
    """
    began = time.monotonic()
    interrupted: asyncio.CancelledError | None = None
    try:
        outcome = await _perform_and_commit(runtime, function, ctx, delivery, rng)
    except OtherVersion as error:
        return await waiting_in_redis(runtime, delivery, error.fault)
    except asyncio.CancelledError as error:
        outcome = HandedBack(0.0, "the attempt was interrupted", cause=interruption())
        interrupted = error
    if isinstance(outcome, Retrying | Snoozed):
        await shielded(_end_setbacks(runtime, delivery))
    if not isinstance(outcome, HandedBack):
        return outcome
    times = await shielded(_count(runtime, delivery, outcome, began))
    if times >= MOST_SETBACKS:
        return counted_setback(outcome, times, delivery.job_try - 1, function.policy, rng)
    if interrupted is not None:
        raise interrupted
    return outcome


async def _count(runtime: Runtime, delivery: Delivery, outcome: HandedBack, began: float) -> int:
    """How often this task has been set back in the last hour, by whatever; 0: it is no setback.

    The last time that is believed begins the count anew.
    """
    if outcome.setback is None or not await _has_been_up(runtime, time.monotonic() - began):
        return 0
    key = keys.setbacks(delivery.job_id)
    with contextlib.suppress(*AWAY):
        times = int(await runtime.redis.incr(key))
        await runtime.redis.expire(key, SETBACKS_SECONDS if times < MOST_SETBACKS else 0)
        return times
    return 0


async def _end_setbacks(runtime: Runtime, delivery: Delivery) -> None:
    """As in a row's count: after a failure of its own, or a snooze, the next one is the first."""
    with contextlib.suppress(*AWAY):
        await runtime.redis.delete(keys.setbacks(delivery.job_id))


async def _has_been_up(runtime: Runtime, seconds: float) -> bool:
    with contextlib.suppress(*PASSING):
        found = await runtime.db.execute_once(runtime.db.queries.been_up, {"seconds": seconds})
        return bool(found.scalar_one())
    return False


async def _perform_and_commit(
    runtime: Runtime,
    function: TaskFunction[Any, Any],
    ctx: ProcessContext,
    delivery: Delivery,
    rng: random.Random,
) -> Outcome:
    task = RunningTask(
        db=runtime.db,
        id=None,
        name=function.name,
        attempt=delivery.job_try,
        tries=delivery.job_try - 1,
        user_id=None,
        idempotency_key=delivery.job_id,
        after_commit=AfterCommit(function.name, delivery.job_id),
    )
    work = work_of(runtime.db, function, task)
    runtime.solo.enter()
    try:
        context = {**ctx, "db": work, "task": task}
        outcome = await perform(function, context, _arguments(function, delivery), rng)
        if isinstance(outcome, Completed) and not work.is_untouched:
            await shielded(work.commit())
        if isinstance(outcome, Completed) and task.after_commit:
            await task.after_commit.call_all(function.timeout)
        return outcome
    except OtherVersion:
        raise
    except Exception as error:  # arguments that do not fit, or a commit that failed
        return decide(error, task.tries, function.policy, rng)
    finally:
        runtime.solo.leave()
        if not work.is_untouched:
            await shielded(work.rollback())


def _arguments(function: TaskFunction[Any, Any], delivery: Delivery) -> str:
    if not delivery.args:
        return codec.to_bytes(delivery.kwargs).decode()
    try:
        arguments = function.bind(delivery.args, delivery.kwargs)
        return function.signature.encode_arguments(arguments).decode()
    except ParametersDiffer as error:
        raise OtherVersion(error) from None


async def _answer(runtime: Runtime, delivery: Delivery, outcome: Outcome) -> object:
    match outcome:
        case Completed(result):
            await runtime.flush_pushes()
            return codec.from_bytes(result)
        case Failed(error) | Cancelled(error):
            logger.error("%s failed for good: %s", delivery, one_line(error),
                         exc_info=traceback_of(error))  # fmt: skip
            raise TaskFailed(**describe(error)) from error
        case HandedBack(is_stray=True):
            logger.warning("%s handed back: %s", delivery, outcome.reason)
            await take_start_back(runtime, delivery)
            raise hand_back(outcome.delay)
        case _:
            logger.warning("%s again in %.1f s", delivery, outcome.delay)
            raise hand_back(outcome.delay)


def _held(runtime: Runtime, delivery: Delivery) -> Held:
    arguments = codec.to_bytes(delivery.kwargs)
    payload = (
        b"" if delivery.args
        else codec.rowless_payload(delivery.name, arguments, delivery.enqueued_ms)
    )  # fmt: skip
    queue = runtime.leases.queue_of(delivery.job_id)
    return Held(delivery.job_id, queue, delivery.score, payload)
