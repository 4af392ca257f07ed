"""A tick of arq's cron jobs is one job under our worker, whoever is late and whatever his clock."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.cron import CronJob, cron
from arq.utils import to_unix_ms
from arq.worker import Retry, Worker
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.integration.arq.clock import Clock, connected, pushed
from tests.integration.arq.conftest import Context, Make, end, far_hour
from uow.broker import keys
from uow.broker.redis import RedisClient, server_time
from uow.fast.worker import FastWorker

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


async def note(ctx: Context) -> None:
    ran.append(ctx["job_id"])


def often(**options: Any) -> CronJob:
    """Due every ten seconds, with its own memory of what is next."""
    return cron(note, name="often", second=set(range(0, 60, 10)), microsecond=0, **options)


def at_start(**options: Any) -> CronJob:
    """Due when a worker starts, and not while a test runs."""
    return cron(note, name="start", hour=far_hour(), run_at_startup=True, **options)


@pytest.fixture
async def an_hour_ago(client: ArqRedis) -> datetime:
    """So that what is pushed as of then is due."""
    return (await server_time(client)).replace(second=5, microsecond=0) - HOUR


async def run_all(client: ArqRedis, make: Make, *cron_jobs: CronJob) -> None:
    """Run what was pushed, and forget what arq remembers of it: a minute passes."""
    if not await client.zcard("arq:queue"):
        return
    runner = make(FastWorker, cron_jobs=[*cron_jobs, cron(note, name="start", hour=far_hour())])
    await runner.run_check()
    await end(runner)
    await client.delete(*await client.keys(keys.in_progress("*")))


# -- each tick, once -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"job_id": "mine"}, {"job_id": "mine", "unique": False}])
async def test_a_tick_is_run_once_by_two_workers_whose_clocks_are_five_seconds_apart(
    client: ArqRedis, make: Make, an_hour_ago: datetime, options: dict[str, Any]
) -> None:
    """Who is behind sees each tick when it has been run already."""
    ahead, behind = (make(FastWorker, cron_jobs=[often(**options)]) for _ in range(2))
    idle = cron(note, name="often", hour=far_hour())
    async with connected(client, ahead, behind):
        for second in range(40):
            now = an_hour_ago + second * SECOND
            await ahead.run_cron(now + 5 * SECOND, 0.5)
            await run_all(client, make, idle)
            await behind.run_cron(now, 0.5)
    await run_all(client, make, idle)
    ticks = [to_unix_ms(an_hour_ago + after * SECOND) for after in (5, 15, 25, 35)]
    expected = ["mine"] * 4 if "job_id" in options else [f"often:{tick}" for tick in ticks]
    assert sorted(ran) == expected


async def test_cron_jobs_go_by_the_clock_of_redis(
    client: ArqRedis, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(datetime(2001, 1, 1, 12, 0, 9, 500_000, tzinfo=UTC))
    monkeypatch.setattr(client, "time", clock.time)
    worker = make(FastWorker, cron_jobs=[often()])
    async with connected(client, worker):
        await worker.heart_beat()
        clock.now += SECOND / 4
        await worker.heart_beat()
    assert (await pushed(client)) == {"often": [datetime(2001, 1, 1, 12, 0, 10, tzinfo=UTC)]}


async def test_who_was_stopped_for_a_while_pushes_what_nobody_else_has(
    client: ArqRedis, make: Make, an_hour_ago: datetime
) -> None:
    others, stopped = (make(FastWorker, cron_jobs=[often()]) for _ in range(2))
    idle = cron(note, name="often", hour=far_hour())
    async with connected(client, others, stopped):
        for worker in (others, stopped):
            await worker.run_cron(an_hour_ago, 0.5)
        await others.run_cron(an_hour_ago + 45 * SECOND, 0.5)
        await run_all(client, make, idle)
        await stopped.run_cron(an_hour_ago + 90 * SECOND, 0.5)
    await run_all(client, make, idle)
    assert len(ran) == len(set(ran)) == 9


async def test_what_is_an_hour_late_is_left_out(
    client: ArqRedis, make: Make, an_hour_ago: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows any more whether it was run."""
    caplog.set_level(logging.WARNING)
    job = cron(note, name="hourly", minute=30, microsecond=0)
    worker = make(FastWorker, cron_jobs=[job], timezone=UTC)
    async with connected(client, worker):
        await worker.run_cron(an_hour_ago, 0.5)
        late = an_hour_ago.replace(minute=30, second=10) + 5 * HOUR
        await worker.run_cron(late, 0.5)
    assert [one.hour for one in (await pushed(client))["hourly"]] == [late.hour]
    assert "what was due since" in caplog.text


async def test_a_tick_that_redis_has_not_taken_is_pushed_in_the_next_round(
    client: ArqRedis, make: Make, an_hour_ago: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make(FastWorker, cron_jobs=[often()])

    async def away(*arguments: Any) -> Any:
        raise RedisConnectionError

    async with connected(client, worker):
        await worker.run_cron(an_hour_ago, 0.5)
        with monkeypatch.context() as patch:
            patch.setattr("uow.fast.arq.ticks.push_tick", away)
            with pytest.raises(RedisConnectionError):
                await worker.run_cron(an_hour_ago + 5 * SECOND, 0.5)
        await worker.run_cron(an_hour_ago + 6 * SECOND, 0.5)
    assert len((await pushed(client))["often"]) == 1


async def test_a_job_with_an_id_of_its_own_is_not_pushed_while_it_is_there(
    client: ArqRedis, make: Make, an_hour_ago: datetime
) -> None:
    """And not for that tick by somebody who is late, when it is not there any more."""
    on_time, late = (make(FastWorker, cron_jobs=[often(job_id="mine")]) for _ in range(2))
    await client.enqueue_job("often", _job_id="mine")
    async with connected(client, on_time, late):
        for worker in (on_time, late):
            await worker.run_cron(an_hour_ago, 0.5)
        await on_time.run_cron(an_hour_ago + 6 * SECOND, 0.5)
        await run_all(client, make, cron(note, name="often", hour=far_hour()))
        await late.run_cron(an_hour_ago + 6 * SECOND, 0.5)
    await run_all(client, make, cron(note, name="often", hour=far_hour()))
    assert ran == ["mine"]


async def test_nor_while_its_result_is_kept(
    client: ArqRedis, make: Make, an_hour_ago: datetime
) -> None:
    worker = make(FastWorker, cron_jobs=[often(job_id="mine")])
    await client.set(keys.result("mine"), b"kept")
    async with connected(client, worker):
        await worker.run_cron(an_hour_ago, 0.5)
        await worker.run_cron(an_hour_ago + 6 * SECOND, 0.5)
    assert await client.zcard("arq:queue") == 0


async def test_what_a_stock_worker_has_run_is_not_pushed_again(
    client: ArqRedis, make: Make, an_hour_ago: datetime
) -> None:
    tick = to_unix_ms(an_hour_ago + 5 * SECOND)
    await client.enqueue_job("often", _job_id=f"often:{tick}")
    stock = make(Worker, cron_jobs=[cron(note, name="often", hour=far_hour())])
    await stock.run_check()
    late = make(FastWorker, cron_jobs=[often()])
    async with connected(client, late):
        await late.run_cron(an_hour_ago, 0.5)
        await late.run_cron(an_hour_ago + 6 * SECOND, 0.5)
    assert ran == [f"often:{tick}"]
    assert await client.zcard("arq:queue") == 0


async def test_a_tick_expires_as_arqs_jobs_do(
    client: ArqRedis, make: Make, an_hour_ago: datetime
) -> None:
    worker = make(FastWorker, cron_jobs=[often()], expires_extra_ms=50_000)
    client.expires_extra_ms = 50_000
    async with connected(client, worker):
        await worker.run_cron(an_hour_ago, 0.5)
        await worker.run_cron(an_hour_ago + 4 * SECOND, 10.0)
    lives = [await client.pttl(key) for key in await client.keys("arq:job:often:*")]
    assert [round(one / 1000) for one in sorted(lives)] == [51, 61]


async def test_jobs_that_are_not_unique_are_pushed_by_each_worker(
    client: ArqRedis, make: Make, an_hour_ago: datetime
) -> None:
    workers = [make(FastWorker, cron_jobs=[often(unique=False)]) for _ in range(3)]
    async with connected(client, *workers):
        for worker in workers:
            await worker.run_cron(an_hour_ago, 0.5)
            await worker.run_cron(an_hour_ago + 6 * SECOND, 0.5)
    assert await client.zcard("arq:queue") == 3


async def test_they_are_pushed_where_they_are_served(
    client: ArqRedis, make: Make, an_hour_ago: datetime
) -> None:
    """`queues` of a worker may leave out arq's `queue_name`."""
    worker = make(FastWorker, cron_jobs=[at_start()], queues={"high": 3.0, "low": 1.0})
    async with connected(client, worker):
        await worker.run_cron(an_hour_ago, 0.5)
    assert await client.zcard("high") == 1


async def test_it_is_tried_once_unless_it_says_more(client: ArqRedis, make: Make) -> None:
    """Under arq a second try waits for the end of the lock, a minute."""

    async def again(ctx: Context) -> None:
        ran.append(ctx["job_id"].partition(":")[0])
        raise Retry

    once = cron(again, name="once", hour=far_hour(), run_at_startup=True)
    thrice = cron(again, name="thrice", hour=far_hour(), run_at_startup=True, max_tries=3)
    worker = make(FastWorker, cron_jobs=[once, thrice], max_tries=5)
    await worker.async_run()
    assert sorted(ran) == ["once", "thrice", "thrice", "thrice"]
    assert worker.jobs_failed == 2


# -- jobs of the start -----------------------------------------------------------------------------


async def start(client: ArqRedis, *workers: Any) -> None:
    """As each does it when it starts; a moment apart, so that arq would take other ids."""
    async with connected(client, *workers):
        for worker in workers:
            await worker.heart_beat()


def three(make: Make, **options: Any) -> list[Any]:
    return [make(FastWorker, cron_jobs=[at_start(**options)]) for _ in range(3)]


async def test_a_job_of_the_start_runs_once_for_workers_that_start_together(
    client: ArqRedis, make: Make
) -> None:
    for worker in three(make):
        await start(client, worker)
        await run_all(client, make)
    assert len(ran) == 1


async def test_one_with_an_id_of_its_own_does_too(client: ArqRedis, make: Make) -> None:
    for worker in three(make, job_id="mine"):
        await start(client, worker)
        await run_all(client, make)
    assert ran == ["mine"]


async def test_one_that_is_not_unique_runs_once_for_each(client: ArqRedis, make: Make) -> None:
    for worker in three(make, unique=False):
        await start(client, worker)
        await run_all(client, make)
    assert len(ran) == 3


async def test_each_start_keeps_the_deploy_open_for_another_minute(
    client: ArqRedis, make: Make, redis: RedisClient
) -> None:
    first, second, third = three(make)
    guard = keys.started("arq:queue", "start")
    await start(client, first)
    assert 59_000 < await redis.pttl(guard) <= 60_000
    await redis.pexpire(guard, 5_000)  # most of a minute has passed
    await start(client, second)
    assert 59_000 < await redis.pttl(guard) <= 60_000
    await redis.delete(guard)  # a minute without a start
    await start(client, third)
    assert await client.zcard("arq:queue") == 2


async def test_a_restart_runs_it_again_at_once(client: ArqRedis, make: Make) -> None:
    for worker in three(make):
        await worker.run_check()
        await end(worker)
    assert len(ran) == 3


async def test_the_end_of_another_worker_does_not(client: ArqRedis, make: Make) -> None:
    """In a rolling deploy old ones end while new ones start."""
    old, new, next_one = three(make)
    await old.run_check()
    await client.delete(keys.started("arq:queue", "start"))  # that was long ago
    await new.run_check()
    await end(old)
    await next_one.run_check()
    assert len(ran) == 2
