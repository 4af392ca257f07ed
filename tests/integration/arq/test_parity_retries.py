"""When a job is run again: the same under arq's worker and under ours."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import JobStatus
from arq.utils import timestamp_ms
from arq.worker import FailedJobs, JobExecutionFailed, Retry, RetryJob, func

from tests.integration.arq import conftest
from tests.integration.arq.conftest import FAR, Context, Make, running
from uow.fast.worker import FastWorker

tries: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_tried() -> None:
    tries.clear()


def retrying(error: BaseException, until: int) -> Any:
    """A job function that raises `error` in each try before the one with the number `until`."""

    async def work(ctx: Context) -> str:
        tries.append(ctx["job_try"])
        if ctx["job_try"] < until:
            raise error
        return "done"

    return func(work, name="work")


@pytest.mark.parametrize("error", [Retry(), Retry(defer=0.01), RetryJob()], ids=repr)
async def test_a_job_that_asks_for_it_is_run_again(
    client: ArqRedis, build: Make, error: Exception
) -> None:
    job = await client.enqueue_job("work")
    assert job is not None
    worker = build(retrying(error, until=3))
    assert await worker.run_check() == 1
    assert tries == [1, 2, 3]
    assert (worker.jobs_complete, worker.jobs_failed, worker.jobs_retried) == (1, 0, 2)
    info = await job.result_info()
    assert info is not None
    assert info.job_try == 3


def told_by_the_server(worker: FastWorker) -> Callable[[], Awaitable[bool]]:
    async def is_told() -> bool:
        return worker._machine is not None and worker._machine.watched.is_told

    return is_told


async def test_a_retry_starts_when_it_is_due_also_where_nothing_else_happens(
    client: ArqRedis, build: Make
) -> None:
    started: list[float] = []

    async def once_more(ctx: Context) -> None:
        started.append(asyncio.get_running_loop().time())
        if len(started) == 1:
            raise Retry(defer=0.3)

    worker = build(func(once_more, name="once_more"), poll_delay=0.1)
    async with running(worker):
        if isinstance(worker, FastWorker):
            await conftest.until(told_by_the_server(worker))
        job = await client.enqueue_job("once_more")
        assert job is not None
        await job.result(10)
    assert 0.3 <= started[1] - started[0] < 1.0  # and not when its lease would have ended


async def test_a_retry_is_deferred_from_now_on(client: ArqRedis, build: Make) -> None:
    async def wait_long(ctx: Context) -> None:
        raise Retry(defer=FAR)

    job = await client.enqueue_job("wait_long")
    assert job is not None
    before = timestamp_ms()
    worker = build(func(wait_long, name="wait_long"))
    async with running(worker):
        async with asyncio.timeout(5):
            while await job.status() is not JobStatus.deferred:
                await asyncio.sleep(0.005)
    score = await client.zscore("arq:queue", job.job_id)
    assert score is not None
    assert before + FAR * 1000 - 5 <= score <= timestamp_ms() + FAR * 1000 + 5
    assert await client.get(f"arq:retry:{job.job_id}") == b"1"
    assert not await client.exists(f"arq:in-progress:{job.job_id}")


async def test_a_retry_without_a_delay_keeps_its_place(client: ArqRedis, build: Make) -> None:
    order: list[str] = []

    async def work(ctx: Context, name: str) -> None:
        order.append(name)
        if name == "first" and ctx["job_try"] == 1:
            scores.append(ctx["score"])
            raise Retry
        scores.append(ctx["score"])

    scores: list[int] = []
    await client.enqueue_job("work", "first")
    await client.zincrby("arq:queue", -1000, (await client.zrange("arq:queue", 0, 0))[0])
    await client.enqueue_job("work", "second")
    await build(func(work, name="work"), max_jobs=1).run_check()
    assert order == ["first", "first", "second"]
    assert scores[0] == scores[1]


async def test_the_last_try_is_that_of_the_settings(client: ArqRedis, build: Make) -> None:
    job = await client.enqueue_job("work")
    assert job is not None
    with pytest.raises(FailedJobs, match=re.escape("max 2 retries exceeded")):
        await build(retrying(Retry(), until=99), max_tries=2).run_check()
    assert tries == [1, 2]
    with pytest.raises(JobExecutionFailed, match="max 2 retries exceeded"):
        await job.result()
    info = await job.result_info()
    assert info is not None
    assert (info.function, info.job_try) == ("work", 3)
    assert not await client.exists(f"arq:retry:{job.job_id}", f"arq:job:{job.job_id}")


async def test_a_functions_own_number_of_tries_wins(client: ArqRedis, build: Make) -> None:
    async def work(ctx: Context) -> None:
        tries.append(ctx["job_try"])
        raise Retry

    await client.enqueue_job("work")
    with pytest.raises(FailedJobs, match="max 1 retries exceeded"):
        await build(func(work, name="work", max_tries=1), max_tries=4).run_check()
    assert tries == [1]


async def test_a_client_may_begin_with_a_later_try(client: ArqRedis, build: Make) -> None:
    await client.enqueue_job("work", _job_try=3)
    with pytest.raises(FailedJobs, match="max 4 retries exceeded"):
        await build(retrying(Retry(), until=99), max_tries=4).run_check()
    assert tries == [3, 4]


@pytest.mark.parametrize("kind", ["unknown", "aborted"])
async def test_the_result_of_a_job_that_is_refused_tells_its_starts_whatever_try_was_wished(
    client: ArqRedis, build: Make, kind: str
) -> None:
    name = "missing" if kind == "unknown" else "work"
    job = await client.enqueue_job(name, _job_try=3)
    assert job is not None
    if kind == "aborted":
        await client.zadd("arq:abort", {job.job_id: timestamp_ms() + 1})
    await build(retrying(Retry(), until=1), allow_abort_jobs=True).async_run()
    info = await job.result_info()
    assert info is not None
    assert (info.success, info.job_try) == (False, 1)
    assert tries == []


@pytest.mark.parametrize("error", [Retry(), RetryJob(), asyncio.CancelledError()], ids=repr)
async def test_without_retry_jobs_nothing_is_run_again(
    client: ArqRedis, build: Make, error: BaseException
) -> None:
    await client.enqueue_job("work")
    worker = build(retrying(error, until=9), retry_jobs=False)
    await worker.async_run()
    assert tries == [1]
    assert (worker.jobs_failed, worker.jobs_retried) == (1, 0)
    [result] = await client.all_job_results()
    assert not result.success


async def test_run_check_can_switch_retries_off(client: ArqRedis, build: Make) -> None:
    await client.enqueue_job("work")
    with pytest.raises(FailedJobs, match="1 job failed <Retry defer 0.00s>"):
        await build(retrying(Retry(), until=9)).run_check(retry_jobs=False)


async def test_several_failures_are_told_together(client: ArqRedis, build: Make) -> None:
    async def fail(ctx: Context, number: int) -> None:
        raise ValueError(number)

    for number in (1, 2):
        await client.enqueue_job("fail", number)
    with pytest.raises(FailedJobs) as caught:
        await build(func(fail, name="fail"), max_jobs=1).run_check()
    assert caught.value.count == 2
    first, *others = str(caught.value).splitlines()
    assert (first, sorted(others)) == ("2 jobs failed:", ["ValueError(1)", "ValueError(2)"])


async def test_a_cancelled_job_is_run_again(client: ArqRedis, build: Make) -> None:
    """Not by a shutdown: by its own code. It is a try."""
    await client.enqueue_job("work")
    worker = build(retrying(asyncio.CancelledError(), until=2))
    assert await worker.run_check() == 1
    assert tries == [1, 2]
    assert worker.jobs_retried == 1
