"""`Job.abort`: the same under arq's worker and under ours."""

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job
from arq.worker import func

from tests.integration.arq.conftest import FAR, Build, Context, running

events: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_happened() -> None:
    events.clear()


def lingering(started: asyncio.Event) -> Any:
    async def linger(ctx: Context) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    return func(linger, name="linger")


async def never(ctx: Context) -> None:
    events.append("ran")


async def test_a_running_job_is_aborted(client: ArqRedis, build: Build) -> None:
    started = asyncio.Event()
    job = await client.enqueue_job("linger")
    assert job is not None
    worker = build(lingering(started), allow_abort_jobs=True)
    async with running(worker):
        await started.wait()
        assert await job.abort(timeout=5, poll_delay=0.01)
    assert events == ["cancelled"]
    info = await job.result_info()
    assert info is not None
    assert not info.success
    assert isinstance(info.result, asyncio.CancelledError)
    assert worker.jobs_failed == 1
    assert await client.zcard("arq:abort") == 0
    assert await client.zcard("arq:queue") == 0
    assert not worker.aborting_tasks


@pytest.mark.parametrize("defer", [None, FAR], ids=["queued", "deferred"])
async def test_a_waiting_job_is_aborted_without_a_run(
    client: ArqRedis, build: Build, defer: float | None
) -> None:
    job = await client.enqueue_job("never", _defer_by=defer)
    assert job is not None
    aborting = asyncio.ensure_future(job.abort(timeout=5, poll_delay=0.01))
    await wished(client, job)
    worker = build(never, allow_abort_jobs=True)
    await worker.async_run()
    assert await aborting
    assert events == []
    assert worker.jobs_failed == 1
    assert await client.zcard("arq:abort") == 0


async def wished(client: ArqRedis, job: Job) -> None:
    async with asyncio.timeout(5):
        while await client.zscore("arq:abort", job.job_id) is None:
            await asyncio.sleep(0.002)


async def test_a_deferred_job_is_aborted_by_a_worker_that_runs(
    client: ArqRedis, build: Build
) -> None:
    job = await client.enqueue_job("never", _defer_by=FAR)
    assert job is not None
    async with running(build(never, allow_abort_jobs=True)):
        assert await job.abort(timeout=5, poll_delay=0.01)
    assert events == []


async def test_a_job_that_is_done_cannot_be_aborted(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("never")
    assert job is not None
    await build(never, allow_abort_jobs=True).run_check()
    assert not await job.abort(timeout=5, poll_delay=0.01)
    assert events == ["ran"]


async def test_nobody_aborts_without_the_setting(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("never")
    assert job is not None
    aborting = asyncio.ensure_future(job.abort(timeout=5, poll_delay=0.01))
    await wished(client, job)
    await build(never).run_check()
    assert not await aborting
    assert events == ["ran"]


async def test_only_the_job_that_is_meant_is_aborted(client: ArqRedis, build: Build) -> None:
    started, other_started = asyncio.Event(), asyncio.Event()
    release = asyncio.Event()

    async def other(ctx: Context) -> str:
        other_started.set()
        await release.wait()
        return "done"

    job, others = await client.enqueue_job("linger"), await client.enqueue_job("other")
    assert job is not None
    assert others is not None
    functions = (lingering(started), func(other, name="other"))
    async with running(build(*functions, allow_abort_jobs=True)):
        await started.wait()
        await other_started.wait()
        assert await job.abort(timeout=5, poll_delay=0.01)
        release.set()
        assert await others.result(timeout=5, poll_delay=0.01) == "done"


async def test_an_aborted_job_is_not_run_again(client: ArqRedis, build: Build) -> None:
    started = asyncio.Event()
    job = await client.enqueue_job("linger")
    assert job is not None
    async with running(build(lingering(started), allow_abort_jobs=True, max_tries=9)):
        await started.wait()
        await job.abort(timeout=5, poll_delay=0.01)
        await client.enqueue_job("linger", _job_id="next")
        async with asyncio.timeout(5):
            while not await client.exists("arq:in-progress:next"):
                await asyncio.sleep(0.002)
    assert await client.zcard("arq:queue") == 1
