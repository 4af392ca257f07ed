"""Redis goes away, hangs, or forgets: no task is lost and no process ends."""

import asyncio
import os
import time
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.conformance import tasks
from tests.conformance.conftest import House, effects_of, wait_until, wait_until_running
from uow.broker.keys import pulse
from uow.broker.redis import RedisClient, connect

AWAY_SECONDS = float(os.environ.get("AWAY_SECONDS", "0"))
"""Redis is away for so long at least. For the figure in docs/guarantees.md: 30."""

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
    for worker in workers:  # with the second try in vain its pauses are as long as they get
        await asyncio.to_thread(worker.wait_for_logs, "relay: ConnectionError", 2)
    await asyncio.sleep(back - time.monotonic())
    house.redis.restart(lose_data=True)
    returned = time.time()
    await all_applied(house, 20)
    assert await effects_of(house.db) == [f"{n:02}" for n in range(20)]
    started = await house.db.execute_once(START_AFTER_RETURN, {})
    assert float(started.scalar_one()) - returned <= 2.0
    assert [worker.process.poll() for worker in workers] == [None, None]


async def test_a_redis_that_hangs_is_outlasted(house: House) -> None:
    impatient = f"{house.redis.url}?socket_timeout=0.5"
    worker = await house.start_worker(WORKER_REDIS_URL=impatient)
    house.redis.pause()
    await house.client.enqueue(tasks.effect, what="meanwhile")
    await asyncio.to_thread(worker.wait_for_log, "rescuer: TimeoutError")
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
    await wait_until(lambda: _has(admin, 5))
    await house.db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})
    for key in await admin.keys(lost):
        await admin.delete(key)
    await admin.aclose()
    await house.start_worker()
    for handle in handles:
        await handle.result(15)
    assert await effects_of(house.db) == [f"{n}" for n in range(5)]


async def _has(redis: RedisClient, jobs: int) -> bool:
    return bool(await redis.zcard("arq:queue") == jobs)


async def test_a_running_task_is_not_started_again_when_redis_comes_back_empty(
    house: House,
) -> None:
    await house.start_worker()
    await house.start_worker()
    handle = await house.client.enqueue(tasks.hold_until, what="once", gate=str(house.gate))
    await wait_until_running(house.client, handle.id)
    house.redis.restart(lose_data=True)
    await _is_there_for_longer_than_a_lease(house, handle.id)
    house.gate.touch()
    await handle.result(20)
    view = await house.client.get(handle.id)
    assert view is not None
    assert view.attempt == 1
    assert await effects_of(house.db) == ["once"]


async def _is_there_for_longer_than_a_lease(house: House, task_id: UUID) -> None:
    """Redis has the job again, and had somebody not held it, another had started it by now: the
    leader has looked three times at what is missing, and a lease would be over."""
    pulses: set[bytes] = set()
    redis = connect(house.redis.url)

    async def looked_at() -> bool:
        pulses.update(await redis.keys(pulse("*")))
        return len(pulses) >= 3 and time.monotonic() - began > house.settings.lease_seconds

    async def is_queued() -> bool:
        return await redis.zscore("arq:queue", str(task_id)) is not None

    await wait_until(is_queued)
    began = time.monotonic()
    await wait_until(looked_at)
    await redis.aclose()


async def test_a_redis_without_memory_stops_nothing_but_the_starts(house: House) -> None:
    worker = await house.start_worker()
    admin = connect(house.redis.url)
    await admin.config_set("maxmemory", "1")
    await house.client.enqueue(tasks.effect, what="later")
    await asyncio.to_thread(worker.wait_for_log, "relay: OutOfMemoryError")
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
    await admin.lpush("arq:job:odd", "not a payload")  # type: ignore[misc] # typed for both kinds of client
    await admin.lpush("arq:retry:odd", "not a count")  # type: ignore[misc]
    await admin.set("arq:abort", "not a set")
    await admin.zadd("arq:queue", {"odd": 1})
    await admin.aclose()
    for n in range(2):  # the first may be done before the worker has met the entry
        await house.client.enqueue(tasks.effect.options(delay=n), what="beside it")
        await all_applied(house, n + 1)
    assert worker.process.poll() is None
