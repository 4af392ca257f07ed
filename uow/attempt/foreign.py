"""Jobs of stock arq clients: adopted into a row when first seen, answered in arq's own keys."""

import asyncio
import contextlib
from typing import Any
from uuid import UUID

from uow.attempt.delivery import Delivery
from uow.attempt.runtime import Runtime
from uow.broker import codec, keys
from uow.broker.redis import AWAY
from uow.broker.results import EndedJob
from uow.clock import milliseconds, utcnow
from uow.db import reading
from uow.db.enqueueing import insert_foreign_job
from uow.db.failures import refuses
from uow.db.models import TaskState
from uow.errors import InvalidArguments, TaskFailed
from uow.tasks.function import TaskFunction
from uow.tasks.handle import Ending
from uow.tasks.headers import encode_headers
from uow.telemetry.description import describe, one_line

KEEP_RESULT_MS = 3_600_000
"""How long a stock client finds its result; arq's own default."""


async def adopt(runtime: Runtime, function: TaskFunction[Any, Any], delivery: Delivery) -> UUID:
    """Make the row of a stock client's job, unless an earlier delivery has made it.

    Raises:
        InvalidArguments: The arguments do not fit, or Postgres does not take them or the job's id;
            no row is made.
    """
    arguments = function.signature.encode_arguments(function.bind(delivery.args, delivery.kwargs))
    row_id = delivery.foreign_row_id
    try:
        await insert_foreign_job(
            runtime.db,
            row_id,
            name=function.name,
            arguments=arguments.decode(),
            queue=runtime.leases.queue_of(delivery.job_id),
            job_id=delivery.job_id,
            headers=encode_headers(str(delivery), delivery.headers),
            limit=runtime.settings.start_limit,
        )
    except Exception as error:
        if refuses(error):
            raise InvalidArguments(f"Postgres does not take this job: {one_line(error)}") from error
        raise
    return row_id


async def refuse(runtime: Runtime, delivery: Delivery, error: BaseException) -> TaskFailed:
    """Tell the stock client that its job failed; returns what to tell arq."""
    failure = TaskFailed(**describe(error))
    await _store_result(runtime, delivery, failure)
    return failure


async def answer_from_row(runtime: Runtime, delivery: Delivery, row_id: UUID) -> None:
    """Tell the stock client how its task ended, as the row has it."""
    word = await reading.ending(runtime.db, row_id)
    if word is None:
        return
    ending = Ending.of(word)
    match ending.state:
        case TaskState.SUCCEEDED:
            await _store_result(runtime, delivery, codec.from_bytes(ending.result))
        case TaskState.CANCELLED:
            await _store_result(runtime, delivery, asyncio.CancelledError(ending.reason or ""))
        case TaskState.FAILED:
            await _store_result(runtime, delivery, ending.error)


async def _store_result(runtime: Runtime, delivery: Delivery, result: object) -> None:
    now, queue = milliseconds(utcnow()), runtime.leases.queue_of(delivery.job_id)
    succeeded = not isinstance(result, Exception | asyncio.CancelledError)
    written = EndedJob(
        delivery.name, (), {}, delivery.job_try, delivery.enqueued_ms, succeeded, result, now, now,
        str(delivery), queue, delivery.job_id,
    ).written()  # fmt: skip
    if written is not None:
        with contextlib.suppress(*AWAY):
            await runtime.redis.set(keys.result(delivery.job_id), written, px=KEEP_RESULT_MS)
