"""Cron jobs, the health record and the log: the same under arq's worker and under ours."""

import asyncio
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.cron import cron
from arq.worker import Retry, RetryJob, Worker, check_health, func

from tests.integration.arq.conftest import FAR, Build, Context, far_hour, running, until
from uow.broker.redis import arq_settings
from uow.embedded import EmbeddedRedis

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "arq.worker")
    ran.clear()


async def tick(ctx: Context) -> str:
    ran.append(ctx["job_id"])
    return "ticked"


# -- cron ------------------------------------------------------------------------------------------


async def test_a_cron_job_of_the_start_runs_in_a_burst(client: ArqRedis, build: Build) -> None:
    worker = build(cron_jobs=[cron(tick, hour=far_hour(), run_at_startup=True)])
    assert await worker.run_check() == 1
    assert len(ran) == 1
    assert re.fullmatch(r"cron:tick:\d{13}", ran[0])
    assert await client.keys("arq:result:*") == []  # a cron job keeps none


async def test_the_id_of_a_tick_stays_locked_for_a_minute(client: ArqRedis, build: Build) -> None:
    await build(cron_jobs=[cron(tick, hour=far_hour(), run_at_startup=True)]).run_check()
    assert 55 < await client.ttl(f"arq:in-progress:{ran[0]}") <= 60


@pytest.mark.filterwarnings("ignore:Unclosed client session")  # stock arq's, when it is stopped
async def test_ticks_run_when_they_are_due_once_for_all_workers(
    client: ArqRedis, build: Build
) -> None:
    def every_second() -> Any:
        return cron(tick, second=None, microsecond=0)

    first, second = (build(cron_jobs=[every_second()]) for _ in range(2))
    async with running(first, second):

        async def twice() -> bool:
            return len(ran) >= 2

        await until(twice)
    assert len(set(ran)) == len(ran)
    assert all(job_id.endswith("000") for job_id in ran)


async def test_workers_that_see_the_same_tick_push_it_once(client: ArqRedis, build: Build) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    at = at.replace(minute=30, second=0, microsecond=0)
    workers = [build(cron_jobs=[cron(tick, minute=30, second=0)]) for _ in range(3)]
    for worker in workers:
        worker._pool = client
        await worker.run_cron(at - timedelta(seconds=10), 0.5)  # works out the next one
        await worker.run_cron(at - timedelta(seconds=0.2), 0.5)
        await worker.run_cron(at + timedelta(seconds=0.3), 0.5)
        worker._pool = None
    [(job_id, score)] = await client.zrange("arq:queue", 0, -1, withscores=True)
    assert job_id == b"cron:tick:%d" % score
    assert abs(score - at.timestamp() * 1000) < 1000


async def test_a_cron_job_that_is_not_unique_is_pushed_by_each(
    client: ArqRedis, build: Build
) -> None:
    for _ in range(2):
        await build(
            cron_jobs=[cron(tick, hour=far_hour(), run_at_startup=True, unique=False)]
        ).run_check()
    assert len(set(ran)) == 2
    assert not any(job_id.startswith("cron:") for job_id in ran)


async def test_a_cron_job_with_an_id_of_its_own(client: ArqRedis, build: Build) -> None:
    await build(
        cron_jobs=[cron(tick, hour=far_hour(), run_at_startup=True, job_id="mine")]
    ).run_check()
    assert ran == ["mine"]


async def test_the_result_of_a_cron_job_that_keeps_it(client: ArqRedis, build: Build) -> None:
    await build(
        cron_jobs=[cron(tick, hour=far_hour(), run_at_startup=True, keep_result=10)]
    ).run_check()
    [result] = await client.all_job_results()
    assert (result.function, result.result) == ("cron:tick", "ticked")


async def test_the_timeout_of_a_cron_job(client: ArqRedis, build: Build) -> None:
    async def linger(ctx: Context) -> None:
        await asyncio.Event().wait()

    slow = cron(linger, name="slow", hour=far_hour(), run_at_startup=True, timeout=0.01)
    worker = build(cron_jobs=[slow])
    await worker.async_run()
    assert worker.jobs_failed == 1


async def test_a_tick_is_due_at_its_microsecond(client: ArqRedis, build: Build) -> None:
    at = datetime.now(UTC).replace(minute=30, second=0, microsecond=654_000) + timedelta(hours=1)
    worker = build(cron_jobs=[cron(tick, minute=30, microsecond=654_000)])
    worker._pool = client
    await worker.run_cron(at - timedelta(seconds=10), 0.5)
    await worker.run_cron(at - timedelta(seconds=0.2), 0.5)
    worker._pool = None
    [(_, score)] = await client.zrange("arq:queue", 0, -1, withscores=True)
    assert score == at.timestamp() * 1000


# -- health ----------------------------------------------------------------------------------------


async def test_a_worker_that_runs_is_healthy_and_one_that_is_closed_is_not(
    client: ArqRedis, build: Build, redis_server: EmbeddedRedis
) -> None:
    settings = {"redis_settings": arq_settings(redis_server.url)}

    async def check() -> int:
        return await asyncio.to_thread(check_health, settings)

    assert await check() == 1
    worker = build(tick)
    async with running(worker):
        await until(lambda: client.exists("arq:queue:health-check"))
        assert await check() == 0
    await worker.close()
    assert await check() == 1


async def test_the_health_record(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    worker = build(tick, health_check_interval=0.05, health_check_key="my:health")
    async with running(worker):
        await client.enqueue_job("tick")
        await client.enqueue_job("tick", _defer_by=FAR)
        expected = b"j_complete=1 j_failed=0 j_retried=0 j_ongoing=0 queued=1"

        async def recorded() -> bool:
            return (await client.get("my:health") or b"").endswith(expected)

        await until(recorded)
        assert 0 < await client.pttl("my:health") <= 1050
    assert any("recording health: " in line for line in caplog.messages)


# -- the log ---------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of jobs, with numbers made the same."""
    found = [record.getMessage() for record in caplog.records if record.name == "arq.worker"]
    return [re.sub(r"\d+\.\d\ds", "#s", line).strip() for line in found if "s " in line[:9]]


async def test_the_log_of_a_job(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(ctx: Context, *args: Any, **kwargs: Any) -> str:
        return "done"

    await client.enqueue_job("work", 1, "two", three=3, _job_id="one")
    await build(func(work, name="work")).run_check()
    assert caplog.messages[0] == "Starting worker for 1 functions: work"
    assert re.match(r"redis_version=\S+ mem_usage=\S+ clients_connected=\d+", caplog.messages[1])
    assert lines(caplog) == ["#s → one:work(1, 'two', three=3)", "#s ← one:work ● 'done'"]


async def test_the_log_without_results(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    await client.enqueue_job("tick", _job_id="one")
    await build(tick, log_results=False).run_check()
    assert lines(caplog) == ["#s → one:tick()", "#s ← one:tick ●"]


async def test_the_log_of_a_failure(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(ValueError):
        def extra(self) -> dict[str, int]:
            return {"order": 7}

    async def fail(ctx: Context) -> None:
        raise Wrong("no such order")

    await client.enqueue_job("fail", _job_id="one")
    await build(func(fail, name="fail")).async_run()
    assert lines(caplog) == ["#s → one:fail()", "#s ! one:fail failed, Wrong: no such order"]
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert getattr(record, "extra", None) == {"order": 7}


async def test_the_log_of_retries(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    async def again(ctx: Context) -> None:
        errors = {1: Retry(defer=0.02), 2: RetryJob(), 3: asyncio.CancelledError()}
        raise errors[ctx["job_try"]]

    await client.enqueue_job("again", _job_id="one")
    await build(func(again, name="again"), max_tries=3).async_run()
    assert lines(caplog) == [
        "#s → one:again()", "#s ↻ one:again retrying job in #s",
        "#s → one:again() try=2", "#s ↻ one:again cancelled, will be run again",
        "#s → one:again() try=3", "#s ↻ one:again cancelled, will be run again",
        "#s ! one:again max retries 3 exceeded",
    ]  # fmt: skip


async def test_the_log_of_a_job_that_starts_late(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    at = datetime.now(UTC) - timedelta(seconds=5)
    await client.enqueue_job("tick", _job_id="one", _defer_until=at)
    await build(tick).run_check()
    assert lines(caplog)[0] == "#s → one:tick() delayed=#s"


async def test_the_log_of_aborts(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    job = await client.enqueue_job("tick", _job_id="one")
    assert job is not None
    with pytest.raises(TimeoutError):
        await job.abort(timeout=0)
    await build(tick, allow_abort_jobs=True).async_run()
    assert lines(caplog) == ["#s ⊘ one:tick aborted before start"]
    caplog.clear()

    begun = asyncio.Event()

    async def linger(ctx: Context) -> None:
        begun.set()
        await asyncio.Event().wait()

    job = await client.enqueue_job("linger", _job_id="two")
    assert job is not None
    async with running(build(func(linger, name="linger"), allow_abort_jobs=True)):
        await begun.wait()
        await job.abort(timeout=5, poll_delay=0.01)
    assert lines(caplog) == ["#s → two:linger()", "#s ⊘ two:linger aborted"]


async def test_the_log_of_what_is_refused(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    await client.enqueue_job("missing", _job_id="one")
    await build(tick).async_run()
    await client.zadd("arq:queue", {"two": 1})
    await build(tick).async_run()
    found = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert found == ["job one, function 'missing' not found", "job two expired"]


async def test_the_log_of_a_shutdown(
    client: ArqRedis, build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    worker: Worker = build(tick)
    await client.enqueue_job("tick")
    await worker.run_check()
    await worker.close()
    assert caplog.messages[-1].startswith(
        "shutdown on SIGUSR1 ◆ 1 jobs complete ◆ 0 failed ◆ 0 retries ◆ "
    )
    assert repr(worker) == "<Worker j_complete=1 j_failed=0 j_retried=0 j_ongoing=0>"
