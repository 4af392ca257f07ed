"""Redis away, empty, demoted: what ends arq's worker or lets it stand still, and not ours."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from arq.connections import ArqRedis

from tests.integration.arq.conftest import (
    PICKLE,
    Context,
    Make,
    maker,
    running,
    stock_client,
    until,
)
from tests.integration.arq.gate import Gate
from uow.embedded import EmbeddedRedis
from uow.fast.worker import FastWorker


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def note(ctx: Context, what: Any = None) -> Any:
    return what


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
async def own_client(own_redis: EmbeddedRedis) -> AsyncIterator[ArqRedis]:
    async with stock_client(own_redis, PICKLE) as pool:
        yield pool


@pytest.fixture
async def own_make(own_redis: EmbeddedRedis) -> AsyncIterator[Make]:
    async with maker(own_redis, PICKLE) as make_worker:
        yield make_worker


def was_logged(caplog: pytest.LogCaptureFixture, part: str) -> Any:
    async def is_there() -> bool:
        return any(part in line for line in caplog.messages)

    return is_there


@pytest.mark.parametrize("lose_data", [True, False], ids=["empty", "with its data"])
async def test_a_worker_outlasts_a_restart_of_redis(
    own_redis: EmbeddedRedis,
    own_client: ArqRedis,
    own_make: Make,
    lose_data: bool,
) -> None:
    """Under arq the process ends. What runs puts its own lease, entry and payload back."""
    gate = Gate()
    job = await own_client.enqueue_job("enter")
    assert job is not None
    worker = own_make(FastWorker, gate.function, note, lease_seconds=0.5, allow_abort_jobs=True)
    async with running(worker):
        await gate.holds(1)
        await asyncio.to_thread(own_redis.restart, lose_data=lose_data)
        await until(lambda: is_in_progress(own_client, job.job_id))
        await own_client.enqueue_job("note", 1, _job_id="next")
        await until(lambda: own_client.exists("arq:result:next"))
        gate.opened.set()
        assert await job.result(timeout=5, poll_delay=0.01) == "through"
    assert gate.tries == [1]


async def is_in_progress(client: ArqRedis, job_id: str) -> bool:
    keys = await client.exists(f"arq:in-progress:{job_id}", f"arq:job:{job_id}")
    score = await client.zscore("arq:queue", job_id)
    return bool(keys == 2 and score is not None)


async def test_what_ends_while_redis_is_away_is_finished_when_it_is_back(
    own_redis: EmbeddedRedis, own_client: ArqRedis, own_make: Make, caplog: Any
) -> None:
    gate = Gate()
    job = await own_client.enqueue_job("enter")
    assert job is not None
    worker = own_make(FastWorker, gate.function)
    async with running(worker):
        await gate.holds(1)
        own_redis.kill9()
        await until(was_logged(caplog, "Redis is away"))
        gate.opened.set()
        await until(was_logged(caplog, "← "))
        await asyncio.to_thread(own_redis.start)
        assert await result_of(own_client, job.job_id) == "through"
    assert worker.jobs_complete == 1


async def result_of(client: ArqRedis, job_id: str) -> Any:
    await until(lambda: client.exists(f"arq:result:{job_id}"))
    [result] = await client.all_job_results()
    return result.result


async def test_a_worker_outlasts_a_master_that_was_demoted(
    own_client: ArqRedis, own_make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Under arq READONLY is taken for "started elsewhere": a silent standstill."""
    gate = Gate()
    job = await own_client.enqueue_job("enter")
    assert job is not None
    async with running(own_make(FastWorker, gate.function, note)):
        await gate.holds(1)
        await own_client.replicaof("127.0.0.1", "1")
        gate.opened.set()
        await until(was_logged(caplog, "finisher: ReadOnlyError"))
        await own_client.replicaof("NO", "ONE")
        assert await job.result(timeout=5, poll_delay=0.01) == "through"
        await own_client.enqueue_job("note", 1, _job_id="next")
        await until(lambda: own_client.exists("arq:result:next"))


async def test_a_worker_closes_while_redis_is_away(
    own_redis: EmbeddedRedis, own_client: ArqRedis, own_make: Make, caplog: Any
) -> None:
    gate = Gate()
    await own_client.enqueue_job("enter")
    worker = own_make(FastWorker, gate.function)
    async with running(worker):
        await gate.holds(1)
        own_redis.kill9()
        await until(was_logged(caplog, "Redis is away"))
    async with asyncio.timeout(5):
        await worker.close()
