"""Jobs that no task function is for: an unknown name, or bytes that are no job.

They are calls of the two functions here, which arq has registered like any other, so that arq
itself never settles a job behind the row's back.
"""

import logging
from typing import Any
from uuid import UUID

from worker.clock import milliseconds, utcnow
from worker.errors import UndecodablePayload, UnknownTask
from worker.execution import foreign
from worker.execution.answer import answer, hand_back, handing_back
from worker.execution.context import ProcessContext
from worker.execution.delivery import UNDECODABLE, UNKNOWN, Delivery
from worker.execution.outcome import Failed
from worker.execution.runtime import Runtime
from worker.execution.settle import fail_without_attempt

logger = logging.getLogger("worker.strays")

LONGEST_WAIT = 30.0
"""Seconds between two deliveries of an unknown task at most: a deploy is noticed within it."""


async def unknown_task(ctx: ProcessContext, name: str, **marker: Any) -> None:
    """Hand a task of an unknown name back until a deploy knows it or the grace is over.

    Burns no try: during a rolling deploy the old workers meet the new tasks.

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
        waited = (milliseconds(utcnow()) - delivery.enqueued_ms) / 1000
    else:
        found = await runtime.db.execute_once(runtime.db.queries.look_up, {"id": delivery.row_id})
        row = found.first()
        if row is None or row.settled:
            return
        waited = -row.wait
    if waited < runtime.settings.unknown_task_grace:
        logger.warning("%s: no task function of that name here; handed back", delivery)
        raise hand_back(min(max(waited, 1.0), LONGEST_WAIT))  # doubled each time
    fault = UnknownTask(f"{runtime.registry.no_such(name)} (waited {waited:.0f} s for a deploy)")
    await _fail(runtime, delivery, delivery.row_id, fault)


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
    row = None
    if row_id is not None:
        row = (await runtime.db.execute_once(runtime.db.queries.look_up, {"id": row_id})).first()
    if row_id is None or row is None:
        raise await foreign.refuse(runtime, delivery, error) from None
    await fail_without_attempt(runtime.db, row_id, row.attempt, error, runtime.settings.retention)
    await answer(runtime, delivery, row_id, Failed(error))


def _as_row_id(job_id: str) -> UUID | None:
    try:
        return UUID(job_id)
    except ValueError:
        return None


STRAYS: dict[str, Any] = {UNKNOWN: unknown_task, UNDECODABLE: undecodable_payload}
