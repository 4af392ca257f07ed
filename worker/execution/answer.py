"""What arq is told at the end of an attempt, and who else is."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar
from uuid import UUID

import arq

from worker.broker import codec, keys
from worker.broker.redis import AWAY
from worker.db.queries import LEAD_SECONDS
from worker.errors import TaskFailed
from worker.execution import foreign
from worker.execution.delivery import Delivery
from worker.execution.outcome import Failed, HandedBack, Outcome, Retrying, Snoozed
from worker.execution.runtime import Runtime

T = TypeVar("T")

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
    """
    if isinstance(outcome, Retrying | Snoozed | HandedBack):
        if outcome.delay <= LEAD_SECONDS:
            raise hand_back(outcome.delay)
        return
    await runtime.flush_pushes()
    with contextlib.suppress(*AWAY):
        await runtime.redis.publish(keys.settled_channel(str(row_id)), "")
    if delivery.job_id != str(row_id):
        await foreign.answer_from_row(runtime, delivery, row_id)
    if isinstance(outcome, Failed):
        raise TaskFailed(**codec.describe(outcome.error)) from outcome.error


def hand_back(delay: float) -> arq.Retry:
    """What to raise so that arq delivers the job again after `delay` seconds."""
    return arq.Retry(defer=delay + CLOCK_MARGIN)


async def shielded(work: Awaitable[T]) -> T:
    """Finish `work` even if a cancellation comes meanwhile: a commit is not left half known."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()
