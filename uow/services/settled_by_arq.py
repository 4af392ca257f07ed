"""Jobs that are settled in Redis, but not in their rows.

Our workers leave arq no occasion to do that; another worker on the same queue may. And Postgres may
have refused to write that a task has failed. Then the job is gone while the failure lies at its
result key. What that failure says decides: an expired payload is pushed again; an aborted job is
cancelled; the rest has failed. What Postgres still refuses to write is not run: it is asked again.
"""

import asyncio
import logging
from collections.abc import Sequence

from arq.worker import JobExecutionFailed

from uow.attempt.settle import Numbered, fail_without_attempt
from uow.broker import codec, keys
from uow.broker.redis import RedisClient
from uow.db.database import Database
from uow.db.delivery import Pushable
from uow.db.models import TaskState
from uow.errors import UndecodablePayload
from uow.events.spine import Spine
from uow.tasks.jobs import fields_of_row

logger = logging.getLogger(__name__)

_EXPIRED = "job expired"


async def settle_as_arq_did(
    db: Database,
    redis: RedisClient,
    rows: Sequence[Pushable],
    retention: float,
    events: Spine | None = None,
) -> list[Pushable]:
    """Settle what is settled in Redis alone; returns the others, which are to be pushed again.

    One that Postgres refuses to settle stays as it is, and holds up nobody else.
    """
    results = await redis.mget([keys.result(row.job_id) for row in rows])
    lost: list[Pushable] = []
    for row, result in zip(rows, results, strict=True):
        error = None if result is None else _failure_of(row, result)
        if error is None:
            lost.append(row)
            continue
        logger.error("%s %s was settled in Redis alone: %s", row.name, row.id, error,
                     extra=fields_of_row(row))  # fmt: skip
        aborted = isinstance(error, asyncio.CancelledError)
        state = TaskState.CANCELLED if aborted else TaskState.FAILED
        this = Numbered(row.id, row.attempt)
        if await fail_without_attempt(db, this, error, retention, state=state, events=events):
            await redis.delete(keys.result(row.job_id))
    return lost


def _failure_of(row: Pushable, result: bytes) -> BaseException | None:
    try:
        told = codec.deserialize(result)
    except UndecodablePayload as fault:
        # Another worker's pickle: it is not read, and the task is not its to settle.
        logger.warning("%s %s: an arq worker without our serializer took it from queue %s: %s",
                       row.name, row.id, row.queue, fault, extra=fields_of_row(row))  # fmt: skip
        return None
    error = told.get("r")
    if isinstance(error, JobExecutionFailed) and str(error) == _EXPIRED:
        return None
    return error if isinstance(error, Exception | asyncio.CancelledError) else None
