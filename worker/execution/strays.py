"""Jobs that no task function is for: an unknown name, or bytes that are no job.

They are calls of the two functions here, which arq has registered like any other, so that arq
itself never settles a job behind the row's back.
"""

import contextlib
import logging
from typing import Any
from uuid import UUID

from worker.broker import keys
from worker.broker.redis import AWAY, server_time
from worker.clock import milliseconds
from worker.errors import UndecodablePayload, UnknownTask
from worker.execution import foreign
from worker.execution.answer import fail_unstarted, hand_back, handing_back
from worker.execution.context import ProcessContext
from worker.execution.delivery import UNDECODABLE, UNKNOWN, Delivery
from worker.execution.runtime import Runtime

logger = logging.getLogger("worker.strays")

SIGHTING_SECONDS = 86_400
"""How long Redis remembers, beyond the grace, when a job without a row was first met."""

LONGEST_WAIT = 30.0
"""Seconds between two deliveries of an unknown task at most: a deploy is noticed within it."""


async def unknown_task(ctx: ProcessContext, name: str, **marker: Any) -> None:
    """Hand a task of an unknown name back until a deploy knows it or the grace is over.

    Burns no try: during a rolling deploy the old workers meet the new tasks. The grace begins when
    the first of them does, however long the task has waited in a queue until then.

    Raises:
        arq.Retry: The grace is not over.
        TaskFailed: It is.
    """
    runtime: Runtime = ctx["runtime"]
    delivery = Delivery.from_call(name, ctx, (), marker)
    with handing_back(runtime, delivery):
        await _wait_for_deploy(runtime, delivery, name)


async def _wait_for_deploy(runtime: Runtime, delivery: Delivery, name: str) -> None:
    if delivery.row_id is None:
        waited = await _unknown_to_redis(runtime, delivery)
    else:
        found = await runtime.db.execute_once(runtime.db.queries.look_up, {"id": delivery.row_id})
        row = found.first()
        if row is None or row.settled:
            return
        if row.unknown is None:
            await runtime.db.execute_once(runtime.db.queries.note_unknown, {"id": delivery.row_id})
        waited = row.unknown or 0.0
    if waited < runtime.settings.unknown_task_grace:
        logger.warning("%s: no task function of that name here; handed back", delivery)
        raise hand_back(min(max(waited, 1.0), LONGEST_WAIT))  # doubled each time
    fault = UnknownTask(f"{runtime.registry.no_such(name)} (waited {waited:.0f} s for a deploy)")
    await _fail(runtime, delivery, delivery.row_id, fault)


async def _unknown_to_redis(runtime: Runtime, delivery: Delivery) -> float:
    """Seconds since workers have met a job without a row; 0 while Redis cannot say."""
    redis, key = runtime.redis, keys.unknown(f"{delivery.job_id}:{delivery.enqueued_ms}")
    kept = int(runtime.settings.unknown_task_grace) + SIGHTING_SECONDS
    with contextlib.suppress(*AWAY, ValueError):
        now = milliseconds(await server_time(redis))
        if not await redis.set(key, now, nx=True, ex=kept):
            return (now - int(await redis.get(key) or now)) / 1000
    return 0.0


async def undecodable_payload(ctx: ProcessContext, reason: str) -> None:
    """Fail a job whose payload cannot be read, and its row if it has one.

    Raises:
        TaskFailed: Always.
    """
    runtime: Runtime = ctx["runtime"]
    delivery = Delivery.from_call(UNDECODABLE, ctx, (), {})
    with handing_back(runtime, delivery):
        await _fail(runtime, delivery, _as_row_id(delivery.job_id), UndecodablePayload(reason))


async def _fail(
    runtime: Runtime, delivery: Delivery, row_id: UUID | None, error: Exception
) -> None:
    if row_id is None:
        raise await foreign.refuse(runtime, delivery, error) from None
    await fail_unstarted(runtime, delivery, row_id, error)


def _as_row_id(job_id: str) -> UUID | None:
    try:
        return UUID(job_id)
    except ValueError:
        return None


STRAYS: dict[str, Any] = {UNKNOWN: unknown_task, UNDECODABLE: undecodable_payload}
