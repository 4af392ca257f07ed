"""Attempts of rowless tasks (``durable=False``): at least once, decided by Redis alone."""

import asyncio
import contextlib
import logging
import time
from typing import Any

from uow.attempt.answer import hand_back, take_start_back
from uow.attempt.delivery import Delivery
from uow.attempt.pauses import AGAIN_SECONDS
from uow.attempt.perform import perform
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.attempt.shield import shielded
from uow.attempt.solo import Occupied
from uow.attempt.strays import waiting_in_redis
from uow.attempt.telling import (
    UNWRITTEN,
    EndedAttempt,
    in_fields,
    tell_ended,
    tell_started,
)
from uow.attempt.work import work_of
from uow.broker import codec, keys
from uow.broker.redis import AWAY
from uow.broker.scripts import due_of
from uow.db.failures import PASSING
from uow.db.server import been_up
from uow.errors import ParametersDiffer, TaskFailed
from uow.tasks.after_commit import AfterCommit
from uow.tasks.context import ProcessContext, RunningTask
from uow.tasks.function import TaskFunction
from uow.tasks.headers import encode_headers
from uow.tasks.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Retrying,
    Snoozed,
    Stray,
    traceback_of,
)
from uow.tasks.retry import MOST_SETBACKS, counted_setback, decide
from uow.telemetry import subject
from uow.telemetry.description import describe, one_line

logger = logging.getLogger(__name__)

SETBACKS_SECONDS = 3600
"""How long Redis remembers a setback of a rowless task; each next one follows in seconds."""


async def run_rowless(
    runtime: Runtime, function: TaskFunction[Any, Any], ctx: ProcessContext, delivery: Delivery
) -> object:
    """Run a job that lives in Redis alone; returns its result, which arq keeps.

    Raises:
        arq.Retry: The job is to be delivered again.
        TaskFailed: It has failed for good.
    """
    if runtime.pauses.holds_name(delivery.name):
        await shielded(take_start_back(runtime, delivery))
        raise hand_back(AGAIN_SECONDS)
    async with runtime.leases.holding(_held(runtime, delivery)):
        try:
            outcome = await RowlessAttempt(runtime, function, ctx, delivery).run()
        except (asyncio.CancelledError, Occupied):
            await shielded(take_start_back(runtime, delivery))
            raise
    return await _answer(runtime, delivery, outcome)


class RowlessAttempt:
    """One attempt of a task that has no row."""

    __slots__ = (
        "_ctx", "_delivery", "_function", "_has_begun", "_work",
        "about", "began", "runtime", "task",
    )  # fmt: skip

    def __init__(
        self,
        runtime: Runtime,
        function: TaskFunction[Any, Any],
        ctx: ProcessContext,
        delivery: Delivery,
    ) -> None:
        self.runtime = runtime
        self._function = function
        self._ctx = ctx
        self._delivery = delivery
        self.task = _running(runtime, function, delivery)
        self.began = time.time()
        self._has_begun = False
        self._work = work_of(runtime.db, function, self.task)
        self.about = subject.here(delivery.job_id, self.task.queue)
        self.about.is_attempt(self.task)

    async def run(self) -> Outcome:
        """Perform it and commit.

        As with a row, a setback that has come back too often while Postgres answered counts as the
        task's own failure.

        Raises:
            Occupied: A suspect is alone in this process.
        """
        try:
            outcome = await self._outcome()
        except BaseException:
            if self._has_begun:
                tell_ended(self.runtime.events, (EndedAttempt(self, UNWRITTEN),))
            raise
        tell_ended(self.runtime.events, (EndedAttempt(self, outcome),))
        return outcome

    @property
    def job_id(self) -> str:
        """Of its job."""
        return self._delivery.job_id

    @property
    def waited(self) -> float:
        """Seconds from when its job was due until it began."""
        delivery = self._delivery
        waited = self.began - due_of(delivery.score, delivery.enqueued_ms) / 1000
        return waited if waited > 0.0 else 0.0

    async def _outcome(self) -> Outcome:
        began = time.monotonic()
        outcome = await self._perform_and_commit()
        if isinstance(outcome, Completed):
            return outcome
        if isinstance(outcome, Stray):
            return await waiting_in_redis(self.runtime, self._delivery, outcome.fault)
        if isinstance(outcome, Retrying | Snoozed):
            await shielded(self._end_setbacks())
        if isinstance(outcome, HandedBack):
            times = await shielded(self._count(outcome, began))
            if times >= MOST_SETBACKS:
                tries, policy = self.task.tries, self._function.policy
                return counted_setback(outcome, times, tries, policy, self.runtime.rng)
        return outcome

    async def _perform_and_commit(self) -> Outcome:
        function, work = self._function, self._work
        self.runtime.solo.enter()
        try:
            arguments = _arguments(self._function, self._delivery)
            context = {**self._ctx, "db": work, "task": self.task}
            self._has_begun = True
            tell_started(self)
            outcome = await perform(self.runtime, function, context, arguments)
            if not isinstance(outcome, Completed):
                return outcome
            if not work.is_untouched:
                await shielded(work.commit())
            if self.task.after_commit:
                self.runtime.callbacks.call(self.task.after_commit)
            return outcome
        except ParametersDiffer as error:
            return Stray(error)
        except Exception as error:  # arguments that do not fit, or a commit that failed
            return decide(error, self.task.tries, function.policy, self.runtime.rng)
        finally:
            self.runtime.solo.leave()
            if not work.is_untouched:
                await shielded(work.rollback())

    async def _count(self, outcome: HandedBack, began: float) -> int:
        """How often this task has been set back in the last hour; 0: this is no setback.

        The last time that is believed begins the count anew.
        """
        if outcome.setback is None or not await self._has_been_up(time.monotonic() - began):
            return 0
        redis, key = self.runtime.redis, keys.setbacks(self._delivery.job_id)
        with contextlib.suppress(*AWAY):
            times = int(await redis.incr(key))
            await redis.expire(key, SETBACKS_SECONDS if times < MOST_SETBACKS else 0)
            return times
        return 0

    async def _end_setbacks(self) -> None:
        """As in a row's count: after a failure of its own, or a snooze, the next is the first."""
        with contextlib.suppress(*AWAY):
            await self.runtime.redis.delete(keys.setbacks(self._delivery.job_id))

    async def _has_been_up(self, seconds: float) -> bool:
        with contextlib.suppress(*PASSING):
            return await been_up(self.runtime.db, seconds)
        return False


async def _answer(runtime: Runtime, delivery: Delivery, outcome: Outcome) -> object:
    match outcome:
        case Completed(result):
            await runtime.flush_pushes()
            return codec.from_bytes(result)
        case Failed(error) | Cancelled(error):
            logger.error("%s failed for good: %s", delivery, one_line(error),
                         exc_info=traceback_of(error), extra=in_fields(outcome))  # fmt: skip
            raise TaskFailed(**describe(error)) from error
        case HandedBack(stopped_by=BaseException() as stopped):
            await shielded(take_start_back(runtime, delivery))
            raise stopped
        case HandedBack(is_stray=True):
            logger.warning("%s handed back: %s", delivery, outcome.reason,
                           extra=in_fields(outcome))  # fmt: skip
            await take_start_back(runtime, delivery)
            raise hand_back(outcome.delay)
        case Retrying(delay) | Snoozed(delay) | HandedBack(delay):
            logger.warning("%s again in %.1f s", delivery, delay, extra=in_fields(outcome))
            raise hand_back(delay)
        case Stray():
            raise AssertionError("an attempt makes of it that the job waits, or has failed")


def _running(runtime: Runtime, function: TaskFunction[Any, Any], delivery: Delivery) -> RunningTask:
    return RunningTask(
        db=runtime.db,
        id=None,
        name=function.name,
        attempt=delivery.job_try,
        tries=delivery.job_try - 1,
        user_id=None,
        queue=runtime.leases.queue_of(delivery.job_id),
        headers=delivery.headers,
        idempotency_key=delivery.job_id,
        after_commit=AfterCommit(function.name, delivery.job_id),
    )


def _arguments(function: TaskFunction[Any, Any], delivery: Delivery) -> str:
    """The arguments as JSON; positional ones, which a stock client gives, by their names.

    Raises:
        ParametersDiffer: They are for another version of the function.
    """
    if not delivery.args:
        return codec.to_bytes(delivery.kwargs).decode()
    arguments = function.bind(delivery.args, delivery.kwargs)
    return function.signature.encode_arguments(arguments).decode()


def _held(runtime: Runtime, delivery: Delivery) -> Held:
    arguments = codec.to_bytes(delivery.kwargs)
    headers = encode_headers(str(delivery), delivery.headers)
    payload = (
        b"" if delivery.args
        else codec.rowless_payload(delivery.name, arguments, delivery.enqueued_ms, headers)
    )  # fmt: skip
    queue = runtime.leases.queue_of(delivery.job_id)
    return Held(delivery.job_id, queue, delivery.score, payload)
