"""What arq is told at the end of an attempt, and who else is."""

import contextlib
import logging
from collections.abc import Iterator
from uuid import UUID

import arq

from uow import exhaustion
from uow.attempt import foreign
from uow.attempt.delivery import Delivery
from uow.attempt.runtime import Runtime
from uow.attempt.settle import Numbered, fail_without_attempt
from uow.broker import keys
from uow.broker.redis import AWAY
from uow.db.attempts import look_up
from uow.db.failures import cause_of
from uow.db.fragments import LEAD_SECONDS
from uow.errors import TaskFailed
from uow.tasks.outcome import Failed, HandedBack, Outcome, Retrying, Snoozed
from uow.tasks.retry import HAND_BACK_SECONDS
from uow.telemetry.description import describe, one_line

logger = logging.getLogger(__name__)

CLOCK_MARGIN = 0.01
"""Seconds added to a delivery's delay, so that it does not come just before the row is due."""


async def answer(
    runtime: Runtime, delivery: Delivery, row_id: UUID, outcome: Outcome | None
) -> None:
    """Let arq finish the job, deliver it again, or count a failure.

    Args:
        outcome: What was written to the row; None: somebody else has settled the task.

    Raises:
        arq.Retry: The job is to be delivered again within `LEAD_SECONDS`. What is due later is
            finished in Redis and pushed again by the relay.
        TaskFailed: The task has failed for good.
        asyncio.CancelledError: The attempt was interrupted: its process stops.
    """
    if isinstance(outcome, HandedBack) and outcome.stopped_by is not None:
        raise outcome.stopped_by
    if isinstance(outcome, Retrying | Snoozed | HandedBack):
        if outcome.delay <= LEAD_SECONDS:
            raise hand_back(outcome.delay)
        return
    await runtime.flush_pushes()
    with contextlib.suppress(*AWAY):
        await runtime.redis.publish(keys.settled_channel(str(row_id)), "")
    if isinstance(outcome, Failed) and not outcome.is_written:
        raise await foreign.refuse(runtime, delivery, outcome.error) from outcome.error
    if delivery.job_id != str(row_id):
        await foreign.answer_from_row(runtime, delivery, row_id)
    if isinstance(outcome, Failed):
        raise TaskFailed(**describe(outcome.error)) from outcome.error


async def tell_no_attempt(runtime: Runtime, delivery: Delivery, row_id: UUID) -> None:
    """The start's guard did not hold: finish a settled or missing task, hand back one not due.

    Raises:
        arq.Retry: It is not due.
    """
    standing = await look_up(runtime.db, row_id)
    if standing is None:
        logger.warning("%s has no row: finished without running", delivery)
    elif not standing.settled:
        raise hand_back(max(standing.wait, 0.0))
    await answer(runtime, delivery, row_id, None)


async def fail_unstarted(
    runtime: Runtime, delivery: Delivery, row_id: UUID, error: Exception
) -> None:
    """Fail a task of which no attempt can begin; a missing row fails its job.

    Raises:
        TaskFailed: Always, unless somebody else has settled the task.
    """
    standing = await look_up(runtime.db, row_id)
    if standing is None:
        raise await foreign.refuse(runtime, delivery, error) from None
    kept = runtime.settings.retention
    number = Numbered(row_id, standing.attempt)
    written = await fail_without_attempt(runtime.db, number, error, kept, events=runtime.events)
    logger.error("%s failed without an attempt: %s", delivery, one_line(error))
    await answer(runtime, delivery, row_id, Failed(error, written))


@contextlib.contextmanager
def handing_back(runtime: Runtime, delivery: Delivery) -> Iterator[None]:
    """Hand the job back if Postgres is away or something of ours goes wrong.

    arq would take any other error for the task's failure and forget the job. Errors of the task
    function do not come here: they are in the outcome.

    Raises:
        arq.Retry: Instead of any error that is not meant for arq.
    """
    try:
        yield
    except (arq.Retry, TaskFailed):
        raise
    except Exception as error:
        cause = cause_of(error)
        if (lacking := exhaustion.here.explains(error)) is not None:
            logger.warning("%s handed back: %s", delivery, lacking)
        elif isinstance(error, OSError) or cause is not None:
            if cause is None or cause.is_away:
                runtime.suspend()  # and for nothing else: a row that Postgres refuses is no outage
            logger.warning("%s handed back: %s", delivery, one_line(error))
        else:
            logger.exception("%s handed back: an error of the worker's own", delivery)
        raise hand_back(runtime.spread(*HAND_BACK_SECONDS)) from None


def hand_back(delay: float) -> arq.Retry:
    """What to raise so that arq delivers the job again after `delay` seconds."""
    return arq.Retry(defer=delay + CLOCK_MARGIN)


async def take_start_back(runtime: Runtime, delivery: Delivery) -> None:
    """Burn no try of a rowless task: arq counts starts, so take this one back."""
    with contextlib.suppress(*AWAY):
        await runtime.redis.decr(keys.retries(delivery.job_id))
