"""Redis goes away, hangs, or forgets: no task is lost and no process ends."""

import asyncio
import os
import time

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from tests.conformance import tasks
from tests.conformance.conftest import House, effects_of, wait_until, wait_until_running
from uow.broker.redis import connect

AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "3"))
"""For the figure in docs/guarantees.md: 30."""

START_AFTER_RETURN = text(
    "SELECT min(extract(epoch FROM started_at)) FROM task WHERE name = 'conform.effect'"
)


async def all_applied(house: House, expected: int, timeout: float = 20.0) -> None:
    async def done() -> bool:
        return len(await effects_of(house.db)) >= expected

    await wait_until(done, timeout)


@pytest.mark.timeout(120)
async def test_redis_away_and_back_empty_costs_no_task_and_no_process(house: House) -> None:
    workers = [await house.start_worker() for _ in range(2)]
    house.redis.kill9()
    back = time.monotonic() + AWAY_SECONDS
    for n in range(20):  # nobody is refused, nobody waits
        began = time.monotonic()
        await house.client.enqueue(tasks.effect, what=f"{n:02}")
        assert time.monotonic() - began < 1.0
    await asyncio.sleep(back - time.monotonic())
    house.redis.restart(lose_data=True)
    returned = time.time()
    await all_applied(house, 20)
    assert await effects_of(house.db) == [f"{n:02}" for n in range(20)]
    started = await house.db.execute_once(START_AFTER_RETURN, {})
    assert float(started.scalar_one()) - returned <= 2.0
    assert [worker.process.poll() for worker in workers] == [None, None]


async def test_a_redis_that_hangs_is_outlasted(house: House) -> None:
    worker = await house.start_worker()
    house.redis.pause()
    await house.client.enqueue(tasks.effect, what="meanwhile")
    await asyncio.sleep(6)  # longer than the socket timeout
    house.redis.resume()
    await all_applied(house, 1)
    assert await effects_of(house.db) == ["meanwhile"]
    assert worker.process.poll() is None


async def test_connections_that_are_cut_all_the_time_are_not_noticed(house: House) -> None:
    worker = await house.start_worker()
    admin = connect(house.redis.url)
    for n in range(30):
        await house.client.enqueue(tasks.effect, what=f"{n:02}")
        await admin.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.05)
    await admin.aclose()
    await all_applied(house, 30)
    assert await effects_of(house.db) == [f"{n:02}" for n in range(30)]
    assert worker.process.poll() is None


@pytest.mark.parametrize("lost", ["arq:job:*", "arq:queue", "*"])
async def test_lost_keys_are_put_back(house: House, lost: str) -> None:
    """Of waiting jobs; the round through all tasks is begun by the next leader, so it is soon."""
    handles = [await house.client.enqueue(tasks.effect, what=f"{n}") for n in range(5)]
    admin = connect(house.redis.url)
    pushed = await admin.zcard("arq:queue")
    assert pushed == 5 or await wait_until(lambda: _has(admin, 5)) is None
    await house.db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})
    for key in await admin.keys(lost):
        await admin.delete(key)
    await admin.aclose()
    await house.start_worker()
    for handle in handles:
        await handle.result(15)
    assert await effects_of(house.db) == [f"{n}" for n in range(5)]


async def _has(redis: "Redis", jobs: int) -> bool:
    return await redis.zcard("arq:queue") == jobs


async def test_a_running_task_is_not_started_again_when_redis_comes_back_empty(
    house: House,
) -> None:
    await house.start_worker()
    await house.start_worker()
    handle = await house.client.enqueue(tasks.hold, what="once", seconds=6)
    await wait_until_running(house.client, handle.id)
    house.redis.restart(lose_data=True)
    await handle.result(20)
    view = await house.client.get(handle.id)
    assert view is not None
    assert view.attempt == 1
    assert await effects_of(house.db) == ["once"]


async def test_a_redis_without_memory_stops_nothing_but_the_starts(house: House) -> None:
    worker = await house.start_worker()
    admin = connect(house.redis.url)
    await admin.config_set("maxmemory", "1")
    await house.client.enqueue(tasks.effect, what="later")
    await asyncio.sleep(2)
    assert worker.process.poll() is None
    await admin.config_set("maxmemory", "0")
    await admin.aclose()
    await all_applied(house, 1)
    assert await effects_of(house.db) == ["later"]
    assert worker.process.poll() is None


async def test_an_entry_that_is_no_text_kills_no_worker(house: House) -> None:
    worker = await house.start_worker()
    admin = connect(house.redis.url)
    await admin.zadd("arq:queue", {b"\xff\xfe": 1})
    await admin.aclose()
    for n in range(2):  # the first may be done before the worker has met the entry
        await house.client.enqueue(tasks.effect.options(delay=n), what="beside it")
        await all_applied(house, n + 1)
    assert worker.process.poll() is None


async def test_keys_of_a_wrong_type_kill_no_worker(house: House) -> None:
    worker = await house.start_worker()
    admin = connect(house.redis.url)
    await admin.lpush("arq:job:odd", "not a payload")
    await admin.lpush("arq:retry:odd", "not a count")
    await admin.set("arq:abort", "not a set")
    await admin.zadd("arq:queue", {"odd": 1})
    await admin.aclose()
    for n in range(2):  # the first may be done before the worker has met the entry
        await house.client.enqueue(tasks.effect.options(delay=n), what="beside it")
        await all_applied(house, n + 1)
    assert worker.process.poll() is None
