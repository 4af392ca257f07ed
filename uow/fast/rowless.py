"""Attempts of rowless tasks (``durable=False``): run, and their result kept by Redis."""

import asyncio
import logging

from arq.utils import timestamp_ms, to_ms

from uow.attempt.delivery import Delivery
from uow.attempt.pauses import AGAIN_SECONDS
from uow.attempt.rowless import RowlessAttempt
from uow.attempt.running import Held
from uow.attempt.runtime import Runtime
from uow.attempt.solo import Occupied
from uow.attempt.telling import in_fields
from uow.broker import codec
from uow.broker.claims import NO_RESULT, Finish
from uow.broker.results import EndedJob
from uow.errors import TaskFailed
from uow.fast import job_log
from uow.fast.engine import Engine
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
from uow.telemetry.description import describe, one_line

logger = logging.getLogger(__name__)


AGAIN_MS = int(AGAIN_SECONDS * 1000)


class RowlessAttempts:
    """Runs jobs that live in Redis alone.

    Args:
        keep_result: Seconds that a result is kept.
    """

    def __init__(self, engine: Engine, runtime: Runtime, keep_result: float) -> None:
        self._engine = engine
        self._runtime = runtime
        self._kept_ms = to_ms(keep_result)

    async def run(self, held: Held, delivery: Delivery) -> None:
        """Run a job and let Redis do what comes of it."""
        function, engine = self._runtime.registry[delivery.name], self._engine
        if self._runtime.pauses.holds_name(delivery.name):
            return engine.finish(held, held.finish("unrun", AGAIN_MS, held.payload))
        began, context = timestamp_ms(), {**engine.ctx, **delivery.context}
        attempt = RowlessAttempt(self._runtime, function, context, delivery)
        job_log.started(delivery)
        try:
            outcome = await attempt.run()
        except asyncio.CancelledError as stopped:
            outcome = HandedBack(0.0, "the attempt was interrupted", stopped_by=stopped)
        except Occupied:
            return engine.finish(held, held.back("unrun"))
        if isinstance(outcome, Completed):
            engine.jobs_complete += 1
            job_log.completed(delivery, began / 1000, attempt.about)
            result = codec.from_bytes(outcome.result)
            return engine.finish(held, self._with_result(held, delivery, began, result))
        return engine.finish(held, self._after(held, delivery, began, outcome))

    def _after(self, held: Held, delivery: Delivery, began: int, outcome: Outcome) -> Finish:
        """What becomes of a job that has not succeeded."""
        engine = self._engine
        match outcome:
            case Failed(error) | Cancelled(error):
                engine.jobs_failed += 1
                logger.error("%s failed for good: %s", delivery, one_line(error),
                             exc_info=traceback_of(error), extra=in_fields(outcome))  # fmt: skip
                return self._with_result(held, delivery, began, TaskFailed(**describe(error)))
            case Retrying() | Snoozed() | HandedBack():
                engine.jobs_retried += 1
                return _again(held, delivery, outcome)
            case Completed() | Stray():
                raise AssertionError(
                    "success was dealt with, and a stray has become another outcome"
                )

    def _with_result(self, held: Held, delivery: Delivery, began: int, result: object) -> Finish:
        written = EndedJob(
            delivery.name, delivery.args, delivery.kwargs, delivery.job_try, delivery.enqueued_ms,
            not isinstance(result, TaskFailed), result, began, timestamp_ms(), str(delivery),
            held.queue, held.job_id,
        ).written()  # fmt: skip
        return held.finish("done", self._kept_ms or NO_RESULT, written or b"")


def _again(held: Held, delivery: Delivery, outcome: Retrying | Snoozed | HandedBack) -> Finish:
    delay_ms = int(outcome.delay * 1000)
    match outcome:
        case HandedBack(stopped_by=BaseException()):
            return held.back("unrun")
        case HandedBack(is_stray=True):
            logger.warning("%s handed back: %s", delivery, outcome.reason,
                           extra=in_fields(outcome))  # fmt: skip
            return held.finish("unrun", delay_ms, held.payload)
    logger.warning("%s again in %.1f s", delivery, outcome.delay, extra=in_fields(outcome))
    return held.finish("again", delay_ms, held.payload)
