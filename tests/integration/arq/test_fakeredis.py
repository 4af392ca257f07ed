"""The fast worker on a Redis that is only made believe, as users' own unit tests have it."""

from typing import Any

import fakeredis
import pytest
from arq.connections import ArqRedis
from arq.worker import Retry
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

from uow.broker.redis import apart
from uow.fast.worker import FastWorker


def by_class() -> ArqRedis:
    return ArqRedis(fakeredis.FakeAsyncRedis().connection_pool)


def by_function() -> ArqRedis:
    """As with the names that fakeredis keeps for old callers: they are functions by now."""

    def connection(**options: Any) -> AbstractConnection:
        return kind(**options)

    pool = fakeredis.FakeAsyncRedis().connection_pool
    kind = pool.connection_class
    made: ConnectionPool = ConnectionPool(
        connection_class=connection,  # type: ignore[arg-type]  # it is no class
        **pool.connection_kwargs,
    )
    return ArqRedis(made)


@pytest.fixture(params=[by_class, by_function])
def fake(request: pytest.FixtureRequest) -> ArqRedis:
    redis: ArqRedis = request.param()
    return redis


async def twice(ctx: dict[Any, Any], number: int) -> int:
    if ctx["job_try"] == 1:
        raise Retry
    return 2 * number


async def test_another_client_of_it_sees_the_same_keys(fake: ArqRedis) -> None:
    other = apart(fake)
    await other.set("greeting", "hello")
    assert await fake.get("greeting") == b"hello"
    await other.aclose()
    await fake.aclose(close_connection_pool=True)


async def test_a_worker_runs_jobs_and_retries_on_it(fake: ArqRedis) -> None:
    worker = FastWorker(functions=[twice], redis_pool=fake, burst=True, handle_signals=False)
    job = await fake.enqueue_job("twice", 21)
    assert job is not None
    await worker.main()
    assert await job.result(timeout=5) == 42
    await worker.close()
