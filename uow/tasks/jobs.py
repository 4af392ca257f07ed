"""Jobs of rows: what to push for tasks that were read from Postgres."""

from collections.abc import Awaitable, Iterable
from typing import TypeVar

from uow.broker import codec
from uow.broker.redis import AWAY, RedisClient
from uow.broker.refusals import is_refusal
from uow.broker.scripts import Job
from uow.clock import milliseconds, utcnow
from uow.db import delivery
from uow.db.delivery import Pushable
from uow.db.failures import PASSING, refuses
from uow.db.statement import Statements
from uow.telemetry.subject import fields_of

T = TypeVar("T")


def jobs_of_rows(rows: Iterable[Pushable]) -> list[Job]:
    """The job of each row."""
    now = milliseconds(utcnow())
    return [
        Job(row.job_id, row.queue, row.due_ms, row.priority,
            codec.durable_payload(row.name, str(row.id), now), row.due)
        for row in rows
    ]  # fmt: skip


def fields_of_row(row: Pushable) -> dict[str, object]:
    """The ``extra`` of a line of the log about its task."""
    return fields_of(
        task_id=row.id, task=row.name, job_id=row.job_id, queue=row.queue, attempt=row.attempt
    )


def by_queue(rows: Iterable[Pushable]) -> dict[str, dict[str, Pushable]]:
    """The rows by the id of their job, in each queue."""
    queues: dict[str, dict[str, Pushable]] = {}
    for row in rows:
        queues.setdefault(row.queue, {})[row.job_id] = row
    return queues


async def is_anything_due(db: Statements, redis: RedisClient, queue: str) -> bool:
    """Whether either store has a due task of `queue`: what a burst waits for."""
    announced = await delivery.is_any_announced(db, queue)
    # Redis after Postgres: what the relay has pushed meanwhile is in one of them when it is asked.
    return bool(announced or await redis.zcount(queue, "-inf", milliseconds(utcnow())))


async def told(question: Awaitable[T]) -> T | None:
    """What a store says to a burst's question; None: it cannot tell now, and is to be asked again.

    Raises:
        RedisError, asyncpg.PostgresError: It refuses to say, for good.
    """
    try:
        return await question
    except (*AWAY, *PASSING) as error:
        if is_refusal(error) or refuses(error):
            raise
        return None
