"""The relay: what is committed and not in Redis gets there; what is there is left alone."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from worker import Database, TaskClient, TaskContext, task
from worker.broker.redis import RedisClient
from worker.execution.jobs import is_anything_due
from worker.execution.registry import Registry
from worker.services.relay import BATCH, Listener, Relay

INSERT = text("INSERT INTO task (name) SELECT 'x' FROM generate_series(1, :n)")


async def test_what_is_missing_is_pushed_and_what_is_there_is_not_pushed_again(
    db: Database, redis: RedisClient
) -> None:
    await db.execute_once(INSERT, {"n": 3})
    relay = Relay(db, redis)
    assert await relay.run_once() == 3
    await db.execute_once(text("UPDATE task SET dispatch_at = now()"), {})
    assert await relay.run_once() == 0
    await redis.flushall()
    await db.execute_once(text("UPDATE task SET dispatch_at = now()"), {})
    assert await relay.run_once() == 3


async def test_more_than_a_batch_is_pushed_in_one_round(db: Database, redis: RedisClient) -> None:
    await db.execute_once(INSERT, {"n": BATCH + 5})
    assert await Relay(db, redis).run_once() == BATCH + 5
    assert await redis.zcard("arq:queue") == BATCH + 5


async def test_two_relays_do_not_look_at_the_same_rows(db: Database, redis: RedisClient) -> None:
    await db.execute_once(INSERT, {"n": 200})
    pushed = await asyncio.gather(Relay(db, redis).run_once(), Relay(db, redis).run_once())
    assert sum(pushed) == 200


async def test_while_redis_is_away_the_rows_stay_due(db: Database) -> None:
    from worker.broker.redis import connect

    await db.execute_once(INSERT, {"n": 1})
    away = connect("redis://127.0.0.1:1/0")
    with pytest.raises(Relay.passing):
        await Relay(db, away).run_once()
    due = await db.execute_once(text("SELECT count(*) FROM task WHERE dispatch_at <= now()"), {})
    assert due.scalar_one() == 1
    await away.aclose()


async def test_a_burst_waits_for_a_row_that_is_still_to_be_pushed(
    db: Database, redis: RedisClient
) -> None:
    assert not await is_anything_due(db, redis, "arq:queue")
    await db.execute_once(INSERT, {"n": 1})
    assert await is_anything_due(db, redis, "arq:queue")
    await Relay(db, redis).run_once()
    assert await is_anything_due(db, redis, "arq:queue")


async def test_a_burst_sees_what_is_pushed_while_it_asks(
    db: Database, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.execute_once(INSERT, {"n": 1})
    asked = db.execute_once

    async def pushed_meanwhile(*arguments: Any) -> Any:
        await Relay(db, redis).run_once()
        return await asked(*arguments)

    monkeypatch.setattr(db, "execute_once", pushed_meanwhile)
    assert await is_anything_due(db, redis, "arq:queue")


async def test_settled_rows_are_not_looked_at(db: Database, redis: RedisClient) -> None:
    await db.execute_once(INSERT, {"n": 2})
    await db.execute_once(text("UPDATE task SET state = 'failed', settled_at = now()"), {})
    assert await Relay(db, redis).run_once() == 0


async def test_a_delayed_row_is_pushed_when_it_is_nearly_due(
    db: Database, redis: RedisClient
) -> None:
    await db.execute_once(
        text("INSERT INTO task (name, run_at) VALUES ('x', now() + interval '10 min')"), {}
    )
    assert await Relay(db, redis).run_once() == 0
    held = await db.execute_once(text("SELECT run_at - dispatch_at FROM task"), {})
    assert held.scalar_one().total_seconds() == 60
    await db.execute_once(
        text("UPDATE task SET run_at = now() + interval '59 s', dispatch_at = now()"), {}
    )
    assert await Relay(db, redis).run_once() == 1


async def test_a_committed_row_that_nobody_announced_wakes_the_relay(db: Database) -> None:
    woken = asyncio.Event()
    listener = Listener(db, woken.set)
    await listener.start()
    await woken.wait()  # once after connecting
    woken.clear()
    await db.execute_once(INSERT, {"n": 1})
    async with asyncio.timeout(5):
        await woken.wait()
    await listener.stop()


async def test_an_announced_row_notifies_nobody(
    db: Database, client: TaskClient, registry: Registry
) -> None:
    @task("quiet", registry=registry)
    async def quiet(ctx: TaskContext) -> None: ...

    heard: list[str] = []
    listener = Listener(db, lambda: heard.append("wake"))
    await listener.start()
    while not heard:
        await asyncio.sleep(0)
    await client.enqueue(quiet)
    await db.execute_once(text("INSERT INTO task (name) VALUES ('loud')"), {})
    while len(heard) < 2:
        await asyncio.sleep(0)
    assert len(heard) == 2  # the connection, and the row that was not announced
    await listener.stop()


async def test_the_listener_connects_again_when_its_connection_ends(db: Database) -> None:
    woken = asyncio.Event()
    listener = Listener(db, woken.set)
    await listener.start()
    await woken.wait()
    woken.clear()
    await db.execute_once(
        text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"),
        {},
    )
    async with asyncio.timeout(5):
        await woken.wait()
    await listener.stop()
