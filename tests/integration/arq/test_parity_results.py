"""What a job leaves behind: the same under arq's worker and under ours."""

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import DeserializationError, JobStatus, ResultNotFound, SerializationError
from arq.worker import FailedJobs, JobExecutionFailed, func

from tests.integration.arq.conftest import JSON, PICKLE, Build, Context
from uow import TaskFailed


@pytest.fixture(params=[PICKLE, JSON], ids=["pickle", "json"])
def wire(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, Any] = request.param
    return chosen


async def double(ctx: Context, number: int, *, plus: int = 0) -> int:
    return number * 2 + plus


async def refuse(ctx: Context) -> None:
    raise LookupError("not there")


async def test_a_job_leaves_its_result(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("double", 20, plus=2)
    assert job is not None
    worker = build(double)
    assert await worker.run_check() == 1
    assert await job.result() == 42
    info = await job.result_info()
    assert info is not None
    assert (info.function, list(info.args), info.kwargs) == ("double", [20], {"plus": 2})
    assert (info.success, info.result, info.job_try) == (True, 42, 1)
    assert (info.queue_name, info.job_id, info.score) == ("arq:queue", job.job_id, None)
    assert info.enqueue_time <= info.start_time <= info.finish_time
    assert (worker.jobs_complete, worker.jobs_failed, worker.jobs_retried) == (1, 0, 0)


async def test_only_the_result_is_left(client: ArqRedis, build: Build) -> None:
    await client.enqueue_job("double", 1, _job_id="one")
    await build(double).run_check()
    assert await client.keys("arq:[^q]*") == [b"arq:result:one"]
    assert 3500 < await client.ttl("arq:result:one") <= 3600


async def test_a_failure_is_the_result_and_is_not_tried_again(
    client: ArqRedis, build: Build
) -> None:
    job = await client.enqueue_job("refuse")
    assert job is not None
    worker = build(refuse)
    with pytest.raises(FailedJobs, match="1 job failed"):
        await worker.run_check()
    with pytest.raises((LookupError, TaskFailed), match="not there"):
        await job.result()
    info = await job.result_info()
    assert info is not None
    assert (info.success, info.job_try) == (False, 1)
    assert (worker.jobs_complete, worker.jobs_failed, worker.jobs_retried) == (0, 1, 0)


async def test_all_results_of_many_jobs(client: ArqRedis, build: Build) -> None:
    for number in range(25):
        await client.enqueue_job("double", number)
    assert await build(double, max_jobs=4).run_check() == 25
    results = [found.result for found in await client.all_job_results()]
    assert sorted(results) == [number * 2 for number in range(25)]


@pytest.mark.parametrize(
    ("of_worker", "of_function", "kept"),
    [
        ({"keep_result": 60}, {}, 60),
        ({"keep_result": 60}, {"keep_result": 10}, 10),
        ({"keep_result": 0}, {}, None),
        ({"keep_result": 60}, {"keep_result": 0}, None),
        ({"keep_result_forever": True}, {}, -1),
        ({"keep_result": 0}, {"keep_result_forever": True}, -1),
        ({"keep_result_forever": True}, {"keep_result_forever": False, "keep_result": 10}, 10),
    ],
)
async def test_a_result_is_kept_as_settings_or_function_say(
    client: ArqRedis, build: Build, of_worker: Any, of_function: Any, kept: int | None
) -> None:
    job = await client.enqueue_job("double", 1, _job_id="one")
    assert job is not None
    await build(func(double, name="double", **of_function), **of_worker).run_check()
    assert await client.ttl("arq:result:one") == (-2 if kept is None else kept)
    if kept is None:
        assert await job.status() is JobStatus.not_found
        with pytest.raises(ResultNotFound):
            await job.result()


async def test_a_result_that_cannot_be_written(client: ArqRedis, build: Build) -> None:
    async def give_function(ctx: Context) -> Any:
        return lambda: None

    job = await client.enqueue_job("give_function")
    assert job is not None
    worker = build(func(give_function, name="give_function"))
    assert await worker.run_check() == 1
    with pytest.raises(SerializationError, match="unable to serialize result"):
        await job.result()


async def test_a_job_that_takes_too_long_fails(client: ArqRedis, build: Build) -> None:
    stopped = asyncio.Event()

    async def linger(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    job = await client.enqueue_job("linger")
    assert job is not None
    with pytest.raises(FailedJobs):
        await build(func(linger, name="linger", timeout=0.02)).run_check()
    with pytest.raises((TimeoutError, TaskFailed)):
        await job.result()
    assert stopped.is_set()


async def test_the_default_timeout_counts_where_a_function_has_none(
    client: ArqRedis, build: Build
) -> None:
    async def linger(ctx: Context) -> None:
        await asyncio.Event().wait()

    await client.enqueue_job("linger")
    with pytest.raises(FailedJobs):
        await build(func(linger, name="linger"), job_timeout=0.02).run_check()


async def test_an_unknown_function_fails(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("missing", 1)
    assert job is not None
    with pytest.raises(FailedJobs):
        await build(double).run_check()
    with pytest.raises(JobExecutionFailed, match="function 'missing' not found"):
        await job.result()
    info = await job.result_info()
    assert info is not None
    assert (info.function, list(info.args)) == ("missing", [1])


async def test_a_payload_that_is_no_job_fails(client: ArqRedis, build: Build) -> None:
    await client.set("arq:job:bad", b"\x00garbage")
    await client.zadd("arq:queue", {"bad": 1})
    with pytest.raises(FailedJobs):
        await build(double).run_check()
    assert await client.keys("arq:[^q]*") == [b"arq:result:bad"]
    [result] = await client.all_job_results()
    assert not result.success
    assert result.function == "<unknown>"
    assert isinstance(result.result, DeserializationError | TaskFailed)


async def test_a_job_without_a_payload_has_expired(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("double", 1)
    assert job is not None
    await client.delete(f"arq:job:{job.job_id}")
    with pytest.raises(FailedJobs):
        await build(double).run_check()
    with pytest.raises(JobExecutionFailed, match="job expired"):
        await job.result()


async def test_arguments_that_do_not_fit_fail_the_job(client: ArqRedis, build: Build) -> None:
    job = await client.enqueue_job("double", 1, 2, 3)
    assert job is not None
    with pytest.raises(FailedJobs):
        await build(double).run_check()
    with pytest.raises((TypeError, TaskFailed), match="positional argument"):
        await job.result()
