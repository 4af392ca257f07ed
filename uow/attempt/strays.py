"""Jobs that no task function here is for: an unknown name, arguments of another version of the
function, or bytes that are no job.

The first two wait for a deploy, without a try, until the grace is over. A name is known from the
job: it is never started. Arguments are in the row: an attempt begins, and hands the task back.

Names and bytes that lead nowhere are calls of the two functions here, which arq has registered like
any other, so that arq itself never settles a job behind the row's back.
"""

import contextlib
import logging
from typing import Any, NoReturn
from uuid import UUID

from uow.attempt import deploys, foreign
from uow.attempt.answer import fail_unstarted, hand_back, handing_back, take_start_back
from uow.attempt.delivery import UNDECODABLE, UNKNOWN, Delivery
from uow.attempt.deploys import Fault
from uow.attempt.runtime import Host, Runtime
from uow.broker import keys
from uow.broker.redis import AWAY, server_time
from uow.clock import milliseconds
from uow.db.attempts import look_up, note_unknown
from uow.db.models import TaskState
from uow.errors import UndecodablePayload, UnknownTask
from uow.tasks.context import ProcessContext
from uow.tasks.outcome import Failed, HandedBack
from uow.tasks.retry import HAND_BACK_SECONDS

logger = logging.getLogger(__name__)

SIGHTING_SECONDS = 86_400
"""How long Redis remembers, beyond the grace, when a rowless job was first met."""


async def unknown_task(host: Host, ctx: ProcessContext, /, name: str, **marker: Any) -> None:
    """Hand a task of an unknown name back until a deploy knows it or the grace is over.

    Burns no try: during a rolling deploy the old workers meet the new tasks. The grace begins when
    the first of them does, however long the task has waited in a queue until then.

    Raises:
        arq.Retry: The grace is not over.
        TaskFailed: It is.
    """
    runtime = host.runtime
    delivery = Delivery.from_call(name, ctx, (), marker)
    fault = UnknownTask(runtime.registry.no_such(name))
    with handing_back(runtime, delivery):
        if delivery.row_id is None:
            await wait_rowless(runtime, delivery, fault)
        await _wait_unstarted(runtime, delivery, delivery.row_id, fault)


async def _wait_unstarted(
    runtime: Runtime, delivery: Delivery, row_id: UUID, fault: UnknownTask
) -> None:
    standing = await look_up(runtime.db, row_id)
    if standing is None or standing.settled:
        return
    if standing.state == TaskState.RUNNING:
        raise hand_back(HAND_BACK_SECONDS[1])  # somebody knows it
    if standing.unknown is None:
        await note_unknown(runtime.db, row_id)
    waited = standing.unknown or 0.0
    if waited < runtime.settings.unknown_task_grace:
        logger.warning("%s: no task function of that name here; handed back", delivery)
        raise hand_back(deploys.pause_after(waited))
    await fail_unstarted(runtime, delivery, row_id, deploys.in_vain(fault, waited))


async def wait_rowless(runtime: Runtime, delivery: Delivery, fault: Fault) -> NoReturn:
    """Hand a rowless job back that needs other code than is here.

    Raises:
        arq.Retry: The grace is not over.
        TaskFailed: It is.
    """
    outcome = await waiting_in_redis(runtime, delivery, fault)
    if isinstance(outcome, Failed):
        raise await foreign.refuse(runtime, delivery, outcome.error) from None
    logger.warning("%s handed back: %s", delivery, outcome.reason)
    await take_start_back(runtime, delivery)
    raise hand_back(outcome.delay)


async def waiting_in_redis(
    runtime: Runtime, delivery: Delivery, fault: Fault
) -> HandedBack | Failed:
    """What becomes of a rowless job that needs other code than is here."""
    waited = await _unknown_to_redis(runtime, delivery)
    if waited < runtime.settings.unknown_task_grace:
        return deploys.waiting(fault, waited)
    return Failed(deploys.in_vain(fault, waited))


async def _unknown_to_redis(runtime: Runtime, delivery: Delivery) -> float:
    """Seconds since workers have met a rowless job; 0 while Redis cannot say."""
    redis, key = runtime.redis, keys.unknown(f"{delivery.job_id}:{delivery.enqueued_ms}")
    kept = int(runtime.settings.unknown_task_grace) + SIGHTING_SECONDS
    with contextlib.suppress(*AWAY, ValueError):
        now = milliseconds(await server_time(redis))
        if not await redis.set(key, now, nx=True, ex=kept):
            return (now - int(await redis.get(key) or now)) / 1000
    return 0.0


async def undecodable_payload(host: Host, ctx: ProcessContext, /, reason: str) -> None:
    """Fail a job whose payload cannot be read, and its row if it has one.

    Raises:
        TaskFailed: Always.
    """
    runtime = host.runtime
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
