"""The pusher, on a Redis in this process: here Redis is incidental."""

import asyncio
import threading
from collections.abc import AsyncIterator

import fakeredis
import pytest

from uow.broker.scripts import PRIORITY_STEP_MS, Job, caller
from uow.tasks.pusher import BUFFER_LIMIT, Pusher


@pytest.fixture
async def redis() -> AsyncIterator[fakeredis.FakeAsyncRedis]:
    async with fakeredis.FakeAsyncRedis() as client:
        yield client


def a_job(job_id: str, priority: int = 0) -> Job:
    return Job(job_id, "arq:queue", due_ms=10 * PRIORITY_STEP_MS, priority=priority, payload=b"{}")


async def test_what_was_announced_is_pushed_when_the_pusher_is_stopped(
    redis: fakeredis.FakeAsyncRedis,
) -> None:
    pusher = Pusher(caller(redis))
    await pusher.start()
    pusher.announce([a_job("a"), a_job("b")])
    await pusher.stop()
    assert await redis.zcard("arq:queue") == 2
    assert await redis.get("arq:job:a") == b"{}"


async def test_what_a_thread_announces_is_taken_by_the_loop(
    redis: fakeredis.FakeAsyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    pusher = Pusher(caller(redis))
    await pusher.start()
    woken_by: list[int] = []
    monkeypatch.setattr(pusher, "wake", lambda: woken_by.append(threading.get_ident()))
    await asyncio.to_thread(pusher.announce, [a_job("a")])
    await asyncio.sleep(0)
    assert woken_by == [threading.get_ident()]
    await pusher.stop()
    assert await redis.zcard("arq:queue") == 1


async def test_a_higher_priority_stands_before_what_is_due_earlier(
    redis: fakeredis.FakeAsyncRedis,
) -> None:
    pusher = Pusher(caller(redis))
    pusher.announce([a_job("low"), a_job("high", priority=9), a_job("mid", priority=1)])
    await pusher.flush()
    assert await redis.zrange("arq:queue", 0, -1) == [b"high", b"mid", b"low"]


async def test_a_redis_that_is_away_is_no_error_and_keeps_nothing_back() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    async with fakeredis.FakeAsyncRedis(server=server) as redis:
        pusher = Pusher(caller(redis))
        pusher.announce([a_job("a")])
        await pusher.flush()
        server.connected = True
        await pusher.flush()
        assert await redis.dbsize() == 0  # the relay has it


async def test_the_buffer_is_bounded(redis: fakeredis.FakeAsyncRedis) -> None:
    pusher = Pusher(caller(redis))
    job = a_job("a")
    pusher.announce([job] * BUFFER_LIMIT)
    pusher.announce([job])
    assert len(pusher._buffer) == BUFFER_LIMIT
