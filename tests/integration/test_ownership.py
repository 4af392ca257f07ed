"""A queue is one database's: two services that share a Redis do not swallow each other's jobs."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url, text

from tests.conftest import Drain
from uow import Database, InvalidOptions, Settings, TaskClient, TaskContext, task
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.db import migrations
from uow.errors import SchemaError, SettingsError
from uow.services.presence import Presence
from uow.services.queue_ownership import QueueOwnership
from uow.tasks.queue_owner import ALIVE_SECONDS, Owner, claim_queues, identify, take_over
from uow.tasks.registry import Registry

QUEUE = "arq:queue"


@pytest.fixture
async def us(db: Database) -> Owner:
    return await identify(db, "worker")


@pytest.fixture
async def other(empty_database_url: str) -> AsyncIterator[Owner]:
    """Who has migrated another database."""
    async with Database(empty_database_url) as db:
        await migrations.upgrade(db)
        yield await identify(db, "shop")


@pytest.fixture
def ownership(db: Database, redis: RedisClient) -> QueueOwnership:
    return QueueOwnership(db, redis, "worker")


async def owner_of(redis: RedisClient, queue: str = QUEUE) -> Owner | None:
    written = await redis.get(keys.owner(queue))
    return None if written is None else Owner.from_json(written)


class TestAWorker:
    async def test_takes_a_queue_that_is_nobodys_and_has_it_again_after_a_restart(
        self, redis: RedisClient, us: Owner, registry: Registry, drain: Drain
    ) -> None:
        @task("any", registry=registry)
        async def any_(ctx: TaskContext) -> None: ...

        for _ in range(2):
            await drain()
            assert await owner_of(redis) == us

    async def test_of_another_database_refuses_to_start_and_names_both(
        self, client: TaskClient, redis: RedisClient, us: Owner, other: Owner, registry: Registry,
        drain: Drain,
    ) -> None:  # fmt: skip
        ran = []

        @task("any", registry=registry)
        async def any_(ctx: TaskContext) -> None:
            ran.append(ctx["job_id"])

        await claim_queues(redis, [QUEUE], other)
        await client.enqueue(any_)
        with pytest.raises(SettingsError) as refusal:
            await drain()
        said = str(refusal.value)
        assert str(us) in said
        assert str(other) in said
        assert f"worker queue take-over {QUEUE}" in said
        assert not ran
        assert await owner_of(redis) == other
        await take_over(redis, QUEUE, us)
        await drain()
        assert len(ran) == 1

    async def test_refuses_if_a_single_one_of_its_queues_is_anothers(
        self, settings: Settings, redis: RedisClient, other: Owner, registry: Registry,
        drain: Drain,
    ) -> None:  # fmt: skip
        @task("any", registry=registry)
        async def any_(ctx: TaskContext) -> None: ...

        object.__setattr__(settings, "queues", (QUEUE, "low"))
        await claim_queues(redis, ["low"], other)
        with pytest.raises(SettingsError, match="queue 'low' of this Redis is that of"):
            await drain()

    async def test_refuses_what_it_does_not_understand(
        self, redis: RedisClient, registry: Registry, drain: Drain
    ) -> None:
        @task("any", registry=registry)
        async def any_(ctx: TaskContext) -> None: ...

        for odd in (b"\xff[]", b"[1]", b'{"id": 7}'):
            await redis.set(keys.owner(QUEUE), odd)
            with pytest.raises(SettingsError, match="is that of database"):
                await drain()

    async def test_is_told_what_redis_refuses(
        self, redis: RedisClient, registry: Registry, drain: Drain
    ) -> None:
        @task("any", registry=registry)
        async def any_(ctx: TaskContext) -> None: ...

        await redis.lpush(keys.owner(QUEUE), "odd")
        with pytest.raises(SettingsError, match="WRONGTYPE"):
            await drain()


class TestAnOwner:
    async def test_is_the_same_by_another_connection_string_and_in_another_schema_name(
        self, db: Database, database_url: str, us: Owner
    ) -> None:
        url = make_url(database_url).update_query_dict({"application_name": "other"})
        async with Database(url) as again:
            assert (await identify(again, "renamed")).id == us.id
        await db.execute_once(text(f"ALTER SCHEMA {db.schema} RENAME TO moved"), {})
        async with Database(database_url, schema="moved") as moved:
            assert (await identify(moved, "worker")).id == us.id

    async def test_is_another_one_in_each_database_and_in_each_schema(
        self, empty_database_url: str, us: Owner
    ) -> None:
        ids = {us.id}
        for schema in ("a", "b"):
            async with Database(empty_database_url, schema=schema) as db:
                await migrations.upgrade(db)
                ids.add((await identify(db, "worker")).id)
        assert len(ids) == 3

    async def test_is_made_anew_when_somebody_has_emptied_every_table(
        self, db: Database, us: Owner
    ) -> None:
        await db.execute_once(text("DELETE FROM worker_identity"), {})
        anew = await identify(db, "worker")
        assert anew.id != us.id
        assert await identify(db, "worker") == anew


class TestTheLeader:
    async def test_tells_a_redis_that_was_emptied_again_whose_the_served_queues_are(
        self,
        db: Database,
        settings: Settings,
        redis: RedisClient,
        us: Owner,
        ownership: QueueOwnership,
    ) -> None:
        await Presence(db, "me", settings, running=list).run_once()
        await redis.flushall()
        await ownership.run_once()
        assert await owner_of(redis) == us
        assert await redis.keys("worker:owner:*") == [keys.owner(QUEUE).encode()]

    async def test_says_once_a_minute_that_a_queue_has_become_anothers(
        self, db: Database, settings: Settings, redis: RedisClient, us: Owner, other: Owner,
        ownership: QueueOwnership, caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        await Presence(db, "me", settings, running=list).run_once()
        await claim_queues(redis, [QUEUE], other)
        for _ in range(3):
            await ownership.run_once()
        (said,) = [one for one in caplog.messages if "has become that of" in one]
        assert str(us) in said
        assert str(other) in said

    async def test_says_that_it_lives_again_before_one_error_has_let_that_run_out(
        self, ownership: QueueOwnership
    ) -> None:
        assert ownership.pause_after_error + ownership.interval < ALIVE_SECONDS
        assert ownership.pause_cap + ownership.interval < ALIVE_SECONDS

    async def test_goes_on_without_the_right_to_say_who_it_is_and_says_so_once_a_minute(
        self, ownership: QueueOwnership, us: Owner, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        rounds = iter([SchemaError("GRANT it")] * 3)
        gone_on = asyncio.Event()

        async def refused(*_: object) -> Owner:
            for error in rounds:
                raise error
            gone_on.set()
            return us

        monkeypatch.setattr("uow.services.queue_ownership.identify", refused)
        ownership.pause_after_error = ownership.pause_cap = 0
        await ownership.start()
        async with asyncio.timeout(10):
            await gone_on.wait()
        await ownership.stop()
        assert len([one for one in caplog.messages if "GRANT it" in one]) == 1


class TestATakeOver:
    async def test_leaves_the_jobs_where_they_are(
        self, redis: RedisClient, us: Owner, other: Owner
    ) -> None:
        await claim_queues(redis, [QUEUE], other)
        await redis.zadd(QUEUE, {"a": 1})
        assert await take_over(redis, QUEUE, us) == other
        assert await take_over(redis, QUEUE, us) is None
        assert await owner_of(redis) == us
        assert await redis.zcard(QUEUE) == 1

    async def test_is_refused_while_a_worker_of_the_owner_serves_the_queue(
        self, db: Database, settings: Settings, redis: RedisClient, us: Owner, other: Owner,
        ownership: QueueOwnership,
    ) -> None:  # fmt: skip
        await Presence(db, "me", settings, running=list).run_once()
        await ownership.run_once()
        with pytest.raises(InvalidOptions, match="stop its workers first, or say --force"):
            await take_over(redis, QUEUE, other)
        assert await take_over(redis, QUEUE, other, force=True) == us
        await ownership.run_once()
        assert await take_over(redis, QUEUE, us) == other, "who has lost it does not say it lives"


class TestAClient:
    async def test_that_pushes_to_anothers_queue_says_so_once_and_takes_none(
        self, client: TaskClient, redis: RedisClient, us: Owner, other: Owner, registry: Registry,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        @task("any", registry=registry)
        async def any_(ctx: TaskContext) -> None: ...

        caplog.set_level(logging.WARNING)
        await claim_queues(redis, ["theirs"], other)
        for queue in ("theirs", "theirs", "nobodys"):
            await client.enqueue(any_.options(queue=queue))
            await client._pusher.run_once()
        (said,) = [one for one in caplog.messages if "pushed to queue" in one]
        assert str(us) in said
        assert str(other) in said
        assert await owner_of(redis, "nobodys") is None

    async def test_that_cannot_see_whose_a_queue_is_pushes_all_the_same(
        self, db: Database, client: TaskClient, redis: RedisClient, registry: Registry
    ) -> None:
        @task("any", registry=registry)
        async def any_(ctx: TaskContext) -> None: ...

        await db.execute_once(text("DROP TABLE worker_identity"), {})
        for _ in range(2):
            await client.enqueue(any_)
            await client._pusher.run_once()
        assert await redis.zcard(QUEUE) == 2
