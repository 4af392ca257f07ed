"""The relay: what is committed and not in Redis gets there; what is there is left alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import make_url, text

from tests.integration.test_rescuer import refuse_errors_of
from tests.proxy import Proxy
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.broker import scripts
from uow.broker.redis import RedisClient, connect
from uow.db.delivery import Pushable
from uow.embedded import EmbeddedPostgres
from uow.services import relay as relay_module
from uow.services.presence import Presence
from uow.services.relay import BATCH, PATIENCE, Listener, Relay
from uow.services.rescuer import Rescuer
from uow.tasks.jobs import is_anything_due
from uow.tasks.registry import Registry

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


async def test_a_row_that_redis_refuses_is_failed_and_the_rest_of_the_batch_goes_on(
    db: Database, redis: RedisClient
) -> None:
    await redis.set("session:of:another:application", "theirs")
    await db.execute_once(INSERT, {"n": 30})
    await db.execute_once(
        text("INSERT INTO task (name, queue, dispatch_at) "
             "VALUES ('x', 'session:of:another:application', now() - interval '1 s')"),
        {},
    )  # fmt: skip
    await db.execute_once(INSERT, {"n": 30})
    assert await Relay(db, redis).run_once() == 60
    assert await redis.get("session:of:another:application") == b"theirs"
    found = await db.execute_once(
        text("SELECT state, error_type, message FROM task JOIN task_error ON task_id = task.id"), {}
    )
    state, error_type, message = tuple(found.one())
    assert (state, error_type) == ("failed", "QueueRefused")
    assert "something else at the key 'session:of:another:application': WRONGTYPE" in message
    due = text("SELECT count(*) FROM task WHERE dispatch_at < 'infinity' AND settled_at IS NULL")
    assert (await db.execute_once(due, {})).scalar_one() == 0


async def test_however_many_rows_redis_refuses_it_is_asked_once(
    db: Database, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay holds rows locked meanwhile, and for some seconds at most."""
    calls = 0
    push = scripts.push

    async def counted(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        return await push(*arguments)

    monkeypatch.setattr(scripts, "push", counted)
    await redis.set("theirs", "a string of another application")
    await db.execute_once(INSERT, {"n": 100})
    await db.execute_once(text("UPDATE task SET queue = 'theirs'"), {})
    assert await Relay(db, redis).run_once() == 0
    assert calls == 1
    failed = text("SELECT count(*) FROM task WHERE state = 'failed'")
    assert (await db.execute_once(failed, {})).scalar_one() == 100


async def test_a_stock_clients_id_does_not_make_a_refusal_an_outage(
    db: Database, redis: RedisClient
) -> None:
    await redis.set("theirs", "a string of another application")
    await db.execute_once(INSERT, {"n": 3})
    await db.execute_once(
        text("INSERT INTO task (name, queue, job_id, dispatch_at) "
             "VALUES ('x', 'theirs', 'LOADING-1', now() - interval '1 s')"),
        {},
    )  # fmt: skip
    assert await Relay(db, redis).run_once() == 3
    failed = text("SELECT job_id FROM task WHERE state = 'failed'")
    assert (await db.execute_once(failed, {})).scalars().all() == ["LOADING-1"]


@pytest.mark.parametrize("by", ["relay", "rescuer"])
async def test_a_row_whose_queue_would_be_another_key_is_failed_with_the_reason(
    db: Database, redis: RedisClient, settings: Settings, by: str
) -> None:
    """By a plain INSERT: the table knows no keys. Its queue would be a lease without end."""
    await db.execute_once(INSERT, {"n": 3})
    await db.execute_once(
        text("INSERT INTO task (name, queue) SELECT 'x', 'arq:in-progress:' || id FROM task"), {}
    )
    if by == "relay":
        assert await Relay(db, redis).run_once() == 3
    else:
        presence = Presence(db, "me", settings, running=list)
        rescuer = Rescuer(db, redis, settings, presence, wake_relay=lambda: None)
        await db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})
        assert await rescuer.refill() == 3
    assert await redis.keys("arq:in-progress:*") == []
    found = await db.execute_once(
        text("SELECT state, error_type, message FROM task JOIN task_error ON task_id = task.id"), {}
    )
    said = [tuple(row) for row in found]
    assert {row[:2] for row in said} == {("failed", "QueueRefused")}
    assert len(said) == 3
    assert "is no name for a queue" in said[0][2]


async def test_a_row_that_cannot_be_failed_keeps_no_other_from_it(
    db: Database, redis: RedisClient, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.set("theirs", "a string of another application")
    await db.execute_once(INSERT, {"n": 5})
    await db.execute_once(text("UPDATE task SET queue = 'theirs'"), {})
    odd = (await db.execute_once(text("SELECT id FROM task LIMIT 1"), {})).scalar_one()
    await refuse_errors_of(db, odd)
    await Relay(db, redis).run_once()
    failed = text("SELECT count(*) FROM task WHERE state = 'failed'")
    assert (await db.execute_once(failed, {})).scalar_one() == 4
    assert f"task {odd} cannot be failed" in caplog.text


async def test_tasks_of_a_queue_that_a_worker_serves_wait_until_redis_takes_them(
    db: Database, redis: RedisClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.set("arq:queue", "an accident")
    presence = Presence(db, "alive", settings, running=list)
    await presence.run_once()
    await db.execute_once(INSERT, {"n": 3})
    assert await Relay(db, redis).run_once() == 0
    assert [record.message[:48] for record in caplog.records if record.levelname == "ERROR"] == [
        "Redis refuses what belongs into queue 'arq:queue'"[:48]
    ]
    await redis.delete("arq:queue")
    rescuer = Rescuer(db, redis, settings, presence, wake_relay=lambda: None)
    await rescuer.refill()
    assert await redis.zcard("arq:queue") == 3


async def test_while_redis_is_away_a_relay_writes_nothing(
    db: Database,
) -> None:
    await db.execute_once(INSERT, {"n": 3})
    written = text("SELECT sum(CAST(CAST(xmax AS text) AS bigint)) FROM task")
    away = connect("redis://127.0.0.1:1/0")
    relay = Relay(db, away)
    with pytest.raises(Relay.passing):
        await relay.run_once()
    before = (await db.execute_once(written, {})).scalar_one()
    for _ in range(5):
        with pytest.raises(Relay.passing):
            await relay.run_once()
    assert (await db.execute_once(written, {})).scalar_one() == before
    await away.aclose()


async def test_a_relay_whose_pushes_fail_claims_one_row_until_one_succeeds(
    db: Database, redis: RedisClient
) -> None:
    claimed: list[int] = []
    await db.execute_once(INSERT, {"n": 5})
    relay = Relay(db, redis)
    push = relay._push_missing
    fail = True

    async def failing(rows: Sequence[Pushable]) -> Any:
        claimed.append(len(rows))
        if fail:
            raise RedisConnectionError("away")
        return await push(rows)

    relay._push_missing = failing  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            await relay.run_once()
    fail = False
    assert await relay.run_once() == 5
    assert claimed == [5, 1, 1, 1, 4]


async def test_of_many_relays_that_hear_of_a_row_few_write(
    db: Database, redis: RedisClient
) -> None:
    batches = 0
    relays = [Relay(db, redis) for _ in range(20)]

    def counted(batch: Callable[[], Awaitable[tuple[int, int]]]) -> Any:
        async def one() -> tuple[int, int]:
            nonlocal batches
            batches += 1
            return await batch()

        return one

    for relay in relays:
        relay._one_batch = counted(relay._one_batch)  # type: ignore[method-assign]
        relay.interval = 3600
        await relay.start()
    inserted = 50
    for n in range(inserted):
        await db.execute_once(INSERT, {"n": 1})
        for relay in relays:
            relay.wake()
        async with asyncio.timeout(5):
            while await redis.zcard("arq:queue") <= n:
                await asyncio.sleep(0)
    for relay in relays:
        await relay.stop()
    assert batches < len(relays) * inserted / 3


async def test_the_relay_that_comes_first_looks_at_once_and_the_next_one_when_it_is_gone(
    db: Database, redis: RedisClient
) -> None:
    first, second = Relay(db, redis), Relay(db, redis)
    second.interval = 3600
    for _ in range(PATIENCE):
        await db.execute_once(INSERT, {"n": 1})
        for relay in (first, second):
            relay.wake()
            await relay.run_once()
    first.wake()
    assert first._wake.is_set()
    second._wake.clear()
    second.wake()
    assert not second._wake.is_set()
    await db.execute_once(INSERT, {"n": 1})  # which nobody else takes
    await second.start()
    async with asyncio.timeout(5):
        while await redis.zcard("arq:queue") <= PATIENCE:
            await asyncio.sleep(0)
    await second.stop()


async def test_while_redis_is_away_the_rows_stay_due(db: Database) -> None:
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
        monkeypatch.undo()
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


async def test_a_listener_that_is_asked_again_and_again_hears_on_the_same_connection(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uow.services.relay.LISTEN_SECONDS", 0.01)
    asked = asyncio.Event()
    ask = relay_module._ask

    async def noted(raw: Any) -> None:
        await ask(raw)
        asked.set()

    monkeypatch.setattr(relay_module, "_ask", noted)
    heard: list[str] = []
    listener = Listener(db, lambda: heard.append("wake"))
    await listener.start()
    await asked.wait()
    await db.execute_once(INSERT, {"n": 1})
    async with asyncio.timeout(5):
        while len(heard) < 2:
            await asyncio.sleep(0)
    assert len(heard) == 2  # the connection, and the row
    await listener.stop()


async def test_the_listener_connects_again_when_its_connection_has_fallen_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("uow.services.relay.LISTEN_SECONDS", 0.05)
    async with EmbeddedPostgres(tcp=True) as server:
        url = make_url(server.url)
        async with (
            Proxy(str(url.host), url.port or 0).listening() as proxy,
            Database(url.set(host="127.0.0.1", port=proxy.port)) as db,
        ):
            connected = asyncio.Event()
            listener = Listener(db, connected.set)
            await listener.start()
            await connected.wait()
            connected.clear()
            proxy.passes.clear()
            async with asyncio.timeout(5):
                while "listener: " not in caplog.text:
                    await asyncio.sleep(0)
            proxy.passes.set()
            async with asyncio.timeout(5):
                await connected.wait()
            await listener.stop()
