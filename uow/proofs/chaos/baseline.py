"""The same work as plain arq functions, without us: what the guarantee is measured against.

Written as a careful user of arq would: an engine of its own in `ctx`, a transaction per block, a
failing try inside its transaction, a retry asked for by `arq.Retry`, a child enqueued after the
commit. Without faults it loses nothing and repeats nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from arq import Retry
from arq.connections import ArqRedis
from arq.constants import default_queue_name
from arq.worker import Worker
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import create_async_engine

from uow.broker.redis import arq_settings
from uow.db.database import Database
from uow.proofs.chaos.fleet import Target
from uow.proofs.chaos.system import CONCURRENCY, NotSent
from uow.proofs.chaos.tasks import (
    BACKOFF,
    CHILD_PART,
    EFFECTS,
    apply,
    kind_of,
    long_pause,
    pause,
)

Context = dict[Any, Any]


async def one(ctx: Context, number: int) -> None:
    """One effect."""
    await pause()
    await _apply(ctx, number, 0)
    await pause()


async def two_blocks(ctx: Context, number: int) -> None:
    """Two effects in two transactions."""
    await _apply(ctx, number, 0)
    await pause()
    await _apply(ctx, number, 1)
    await pause()


async def with_child(ctx: Context, number: int) -> None:
    """One effect, then a job that has another."""
    await pause()
    await _apply(ctx, number, 0)
    await ctx["redis"].enqueue_job("child", number)
    await pause()


async def child(ctx: Context, number: int) -> None:
    """The part that `with_child` leaves to another job."""
    await pause()
    await _apply(ctx, number, CHILD_PART)
    await pause()


async def second_try(ctx: Context, number: int) -> None:
    """Fails inside its transaction, which undoes the effect; then succeeds."""
    async with ctx["engine"].begin() as connection:
        await apply(connection, number, 0, ctx["job_try"])
        await pause()
        if ctx["job_try"] == 1:
            raise Retry(defer=BACKOFF.base)


async def slow(ctx: Context, number: int) -> None:
    """One effect in the middle of a long time."""
    await long_pause()
    await _apply(ctx, number, 0)
    await pause()


async def _apply(ctx: Context, number: int, part: int) -> None:
    async with ctx["engine"].begin() as connection:
        await apply(connection, number, part, ctx["job_try"])


def run_arq(postgres_url: str, redis_url: str) -> None:
    """Run a stock arq worker with its defaults until it ends."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    engine = create_async_engine(postgres_url, pool_size=CONCURRENCY, pool_pre_ping=True)
    Worker(
        functions=[one, two_blocks, with_child, child, second_try, slow],
        redis_settings=arq_settings(redis_url),
        max_jobs=CONCURRENCY,
        ctx={"engine": engine},
    ).run()


class StockArq:
    """arq alone: jobs in Redis, and nothing else."""

    name = "stock arq"

    def __init__(self, db: Database, redis: ArqRedis, command: Target) -> None:
        self.db = db
        self.command = command
        self._redis = redis

    async def enqueue(self, number: int) -> None:
        """Enqueue as arq's documentation says."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise NotSent(str(error)) from error
        await self._redis.enqueue_job(str(kind_of(number)), number)

    async def unfinished(self) -> int:
        """Jobs in the queue, which those that run are too."""
        return int(await self._redis.zcard(default_queue_name))

    async def unfinished_numbers(self) -> set[int]:
        """The numbers of those jobs."""
        return {job.args[0] for job in await self._redis.queued_jobs()}

    async def failures(self) -> list[str]:
        """Not asked: a job that failed has not applied its effects, so it counts as lost."""
        return []

    async def leftovers(self) -> dict[str, int]:
        """Not asked: arq keeps results on purpose, and what else is left counts as stuck."""
        return {}

    async def describe(self) -> list[str]:
        """The jobs that are left."""
        return [
            f"{job.function} {job.args}, enqueued {job.enqueue_time}"
            for job in await self._redis.queued_jobs()
        ]


@contextlib.asynccontextmanager
async def open_stock_arq(postgres_url: str, redis_url: str) -> AsyncIterator[StockArq]:
    """Make the table of effects and open a client."""
    redis = ArqRedis.from_url(redis_url)
    async with Database(postgres_url) as db, contextlib.aclosing(redis):
        await db.execute_once(EFFECTS, {})
        yield StockArq(db, redis, (run_arq, (postgres_url, redis_url)))
