"""Enqueueing: in the caller's transaction, through the client, by a stock arq client, by SQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job
from pydantic import BaseModel, SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tests.conftest import Drain
from uow import (
    Database,
    Settings,
    TaskCancelled,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskFunction,
    TaskNotFound,
    TaskRef,
    TaskState,
    task,
)
from uow.broker import codec, scripts
from uow.broker.redis import RedisClient, connect
from uow.db import migrations
from uow.embedded import EmbeddedRedis
from uow.errors import (
    ClientClosed,
    InvalidArguments,
    InvalidOptions,
    PayloadTooLarge,
    ServerUnreachable,
)
from uow.services.relay import Relay
from uow.tasks.registry import Registry


class Point(BaseModel):
    x: int
    y: int


@pytest.fixture
def double(registry: Registry) -> TaskFunction[..., int]:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return double


@pytest.fixture
def plain(registry: Registry) -> TaskFunction[..., int]:
    @task("plain", durable=False, registry=registry)
    async def plain(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return plain


async def rows(db: Database) -> int:
    return int((await db.execute_once(text("SELECT count(*) FROM task"), {})).scalar_one())


async def nothing_anywhere(db: Database, client: TaskClient, redis: RedisClient) -> bool:
    await client.flush()
    await Relay(db, redis).run_once()
    return await rows(db) == 0 and await redis.dbsize() == 0


class TestInTheCallersTransaction:
    async def test_a_task_is_pushed_after_the_commit_and_not_before(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            handle = await double.enqueue(session, n=21)
            await client.flush()
            assert await redis.dbsize() == 0
        await client.flush()
        assert await redis.zrange("arq:queue", 0, -1) == [str(handle.id).encode()]

    async def test_the_result_comes_back_in_its_type(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("move", registry=registry)
        async def move(ctx: TaskContext, point: Point, by: int = 1) -> Point:
            return Point(x=point.x + by, y=point.y)

        async with db.get_session() as session:
            handle = await move.enqueue(session, Point(x=1, y=2), by=4)
        await drain()
        assert await handle.result(10) == Point(x=5, y=2)

    async def test_a_rollback_leaves_nothing_anywhere(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        with pytest.raises(KeyError):
            async with db.get_session() as session:
                handle = await double.enqueue(session, n=1)
                raise KeyError
        assert await nothing_anywhere(db, client, redis)
        with pytest.raises(TaskNotFound):
            await handle.result(10)

    async def test_a_rolled_back_savepoint_leaves_nothing_anywhere(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            with pytest.raises(KeyError):
                async with session.begin_nested():
                    await double.enqueue(session, n=1)
                    raise KeyError
        assert await nothing_anywhere(db, client, redis)

    async def test_a_released_savepoint_inside_a_rolled_back_one_leaves_nothing_anywhere(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            with pytest.raises(KeyError):
                async with session.begin_nested():
                    async with session.begin_nested():
                        await double.enqueue(session, n=1)
                    raise KeyError
        assert await nothing_anywhere(db, client, redis)

    async def test_a_savepoint_of_the_connection_that_is_rolled_back_leaves_nothing_anywhere(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            connection = await session.connection()
            savepoint = await connection.begin_nested()
            await double.enqueue(session, n=1)
            await savepoint.rollback()
        assert await nothing_anywhere(db, client, redis)

    async def test_a_later_rolled_back_savepoint_does_not_take_the_push_away(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            await double.enqueue(session, n=1)
            await (await session.begin_nested()).rollback()
        await client.flush()
        assert await redis.zcard("arq:queue") == 1

    async def test_a_session_joined_to_an_outer_transaction_that_rolls_back_leaves_nothing(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.engine.connect() as connection:
            outer = await connection.begin()
            async with AsyncSession(connection, join_transaction_mode="create_savepoint") as joined:
                await double.enqueue(joined, n=1)
                await joined.commit()
            await client.flush()
            assert await redis.dbsize() == 0
            await outer.rollback()
        assert await nothing_anywhere(db, client, redis)

    async def test_a_session_joined_to_an_outer_transaction_that_commits_is_left_to_the_relay(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.engine.begin() as connection:
            async with AsyncSession(connection, join_transaction_mode="rollback_only") as joined:
                await double.enqueue(joined, n=1)
                await joined.commit()
        await client.flush()
        assert await redis.dbsize() == 0
        await db.execute_once(text("UPDATE task SET dispatch_at = now()"), {})
        assert await Relay(db, redis).run_once() == 1

    async def test_a_session_is_used_for_one_transaction_after_another(
        self, db: Database, client: TaskClient, redis: RedisClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            for expected in (1, 2):
                await double.enqueue(session, n=1)
                await session.commit()
                await client.flush()
                assert await redis.zcard("arq:queue") == expected
            await double.enqueue(session, n=1)
            await session.rollback()
        await client.flush()
        assert await redis.zcard("arq:queue") == 2

    async def test_the_services_own_engine_will_do(
        self, database_url: str, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        engine = create_async_engine(database_url)
        async with AsyncSession(engine) as session, session.begin():
            handle = await double.enqueue(session, n=21)
        await engine.dispose()
        await drain()
        assert await handle.result(10) == 42

    async def test_without_an_open_client_the_relay_pushes(
        self,
        db: Database,
        settings: Settings,
        redis: RedisClient,
        double: TaskFunction[..., int],
    ) -> None:
        async with db.get_session() as session:
            handle = await double.enqueue(session, n=1)
        assert await redis.dbsize() == 0
        assert await Relay(db, redis).run_once() == 1
        with pytest.raises(ClientClosed):
            await handle.result()

    async def test_a_task_without_a_row_is_refused(
        self, db: Database, plain: TaskFunction[..., int]
    ) -> None:
        with pytest.raises(InvalidOptions, match="durable=False"):
            async with db.get_session() as session:
                await plain.enqueue(session, n=1)

    async def test_a_task_enqueued_by_a_task_exists_only_if_that_commits(
        self, db: Database, client: TaskClient, redis: RedisClient, registry: Registry, drain: Drain
    ) -> None:
        ran: list[str] = []

        @task("child", registry=registry)
        async def child(ctx: TaskContext, of: str) -> None:
            ran.append(of)

        @task("parent", max_tries=1, registry=registry)
        async def parent(ctx: TaskContext, fail: bool) -> None:
            async with ctx["db"].get_session() as session:
                await child.enqueue(session, of=f"fail={fail}")
            if fail:
                raise ValueError

        await client.enqueue_many(parent, [{"fail": True}, {"fail": False}])
        await drain()
        assert ran == ["fail=False"]
        assert await rows(db) == 3


class TestThroughTheClient:
    async def test_by_function_by_name_and_by_reference(
        self, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        handles = [
            await client.enqueue(double, n=1),
            await client.enqueue(double.options(priority=3), n=2),
            await client.enqueue("double", n=3),
            await client.enqueue(TaskRef("double").options(user_id=7), n=4),
        ]
        await drain()
        assert [await handle.result(10) for handle in handles] == [2, 4, 6, 8]

    async def test_many_in_one_transaction(
        self, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        handles = await client.enqueue_many(double, [{"n": n} for n in range(50)])
        await drain()
        assert [await handle.result(10) for handle in handles] == [2 * n for n in range(50)]

    async def test_one_bad_call_among_many_enqueues_nothing(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        with pytest.raises(InvalidArguments, match="double: n: Input should be a valid integer"):
            await client.enqueue_many(double, [{"n": 1}, {"n": "many"}])
        assert await rows(db) == 0

    async def test_many_more_than_one_statement_takes(
        self,
        db: Database,
        client: TaskClient,
        double: TaskFunction[..., int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("uow.client.ROWS_PER_STATEMENT", 20)
        handles = await client.enqueue_many(double, [{"n": n} for n in range(50)])
        assert len({handle.id for handle in handles}) == await rows(db) == 50

    async def test_the_result_does_not_need_a_hint(
        self,
        client: TaskClient,
        double: TaskFunction[..., int],
        drain: Drain,
        redis: RedisClient,
    ) -> None:
        handle = await client.enqueue(double, n=21)
        waiting = asyncio.create_task(handle.result(10))
        await client._hints.stop()
        await drain()
        assert await waiting == 42

    async def test_a_redis_that_hangs_does_not_hold_the_result_back(
        self,
        settings: Settings,
        client: TaskClient,
        double: TaskFunction[..., int],
        drain: Drain,
    ) -> None:
        handle = await client.enqueue(double, n=21)
        async with EmbeddedRedis() as frozen:
            theirs = settings.model_copy(update={"redis_url": SecretStr(frozen.url)})
            async with TaskClient.from_settings(theirs, db=client.db) as other:
                frozen.pause()
                waiting = asyncio.create_task(other.handle(handle.id).result(5))
                await drain()
                assert await waiting == 42
                frozen.resume()

    async def test_a_failure_names_the_error(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("fails", final=(ValueError,), registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError("no good")

        handle = await client.enqueue(fails)
        await drain()
        with pytest.raises(TaskFailed, match="ValueError: no good") as caught:
            await handle.result(10)
        assert "raise ValueError" in caught.value.traceback

    async def test_waiting_ends_at_its_timeout_and_names_the_task(
        self, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        handle = await client.enqueue(double, n=1)
        with pytest.raises(TimeoutError, match=f"task double {handle.id}"):
            await handle.result(0.1)

    async def test_cancel_settles_at_once_and_the_function_never_runs(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        ran: list[int] = []

        @task("never", registry=registry)
        async def never(ctx: TaskContext) -> None:
            ran.append(1)

        handle = await client.enqueue(never)
        assert await handle.cancel() is True
        assert await handle.cancel() is False
        with pytest.raises(TaskCancelled):
            await handle.result(10)
        worker = await drain()
        assert ran == []
        assert worker.jobs_complete == 1  # delivered, found settled, finished

    async def test_a_handle_from_another_process_reads_the_result(
        self, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        handle = await client.enqueue(double, n=21)
        await drain()
        assert await client.handle(handle.id).result(10) == 42

    async def test_a_task_without_a_row_runs_and_leaves_its_result_in_redis(
        self, db: Database, client: TaskClient, plain: TaskFunction[..., int], drain: Drain
    ) -> None:
        handle = await client.enqueue(plain, n=21)
        assert await handle.status() is TaskState.QUEUED
        await drain()
        assert await handle.result(10) == 42
        assert await rows(db) == 0

    async def test_redis_away_is_told_for_a_task_without_a_row_and_not_for_one_with(
        self, settings: Settings, double: TaskFunction[..., int], plain: TaskFunction[..., int]
    ) -> None:
        away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
        async with TaskClient.from_settings(away) as client:
            handle = await client.enqueue(double, n=1)
            assert await handle.status() is TaskState.QUEUED
            with pytest.raises(ServerUnreachable, match="plain"):
                await client.enqueue(plain, n=1)


class TestOptions:
    async def test_a_user_id_of_any_kind_is_kept_as_text(
        self, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        view = await client.get((await client.enqueue(double.options(user_id=7), n=1)).id)
        assert view is not None
        assert view.user_id == "7"

    async def test_a_delayed_task_is_scheduled_and_not_run_before(
        self, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        handle = await client.enqueue(double.options(delay=timedelta(seconds=30)), n=1)
        await drain()
        assert await handle.status() is TaskState.SCHEDULED

    async def test_what_is_due_much_later_stays_in_postgres(
        self,
        db: Database,
        client: TaskClient,
        redis: RedisClient,
        double: TaskFunction[..., int],
    ) -> None:
        run_at = datetime.now(UTC) + timedelta(minutes=5)
        await client.enqueue(double.options(run_at=run_at), n=1)
        await client.flush()
        assert await Relay(db, redis).run_once() == 0
        assert await redis.dbsize() == 0

    async def test_a_unique_key_gives_the_existing_task_until_it_is_settled(
        self, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        once = double.options(unique_key="the one")
        first = await client.enqueue(once, n=1)
        second = await client.enqueue(once, n=1)
        assert (first.created, second.created) == (True, False)
        assert first.id == second.id
        await drain()
        third = await client.enqueue(once, n=1)
        assert third.created
        assert third.id != first.id

    async def test_a_hundred_concurrent_enqueues_of_a_unique_key_make_one_task(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        once = double.options(unique_key="the one")
        handles = await asyncio.gather(*(client.enqueue(once, n=1) for _ in range(100)))
        assert len({handle.id for handle in handles}) == 1
        assert await rows(db) == 1

    async def test_priorities_run_first_in_a_full_queue(
        self, client: TaskClient, registry: Registry, drain: Drain, settings: Settings
    ) -> None:
        order: list[int] = []

        @task("note", registry=registry)
        async def note(ctx: TaskContext, priority: int) -> None:
            order.append(priority)

        for priority in (0, 0, 5, 9, 1):
            await client.enqueue(note.options(priority=priority), priority=priority)
        await client.flush()
        one_at_a_time = settings.model_copy(update={"concurrency": 1})
        settings.__dict__.update(one_at_a_time.__dict__)
        await drain()
        assert order == [9, 5, 1, 0, 0]

    async def test_options_that_need_a_row_are_refused_without_one(
        self, plain: TaskFunction[..., int], client: TaskClient
    ) -> None:
        with pytest.raises(InvalidOptions, match="no row that could keep user_id and unique_key"):
            plain.options(user_id=1, unique_key="k")


class TestBadCalls:
    async def test_arguments_that_do_not_fit_fail_in_the_callers_face(
        self, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        for arguments in ({}, {"n": "x"}, {"n": 1, "m": 2}, {"n": None}):
            with pytest.raises(InvalidArguments, match="double: "):
                await client.enqueue(double, **arguments)

    async def test_an_oversized_payload_is_refused_with_both_numbers(
        self, client: TaskClient, registry: Registry
    ) -> None:
        @task("text", registry=registry)
        async def text_(ctx: TaskContext, value: str) -> None: ...

        with pytest.raises(PayloadTooLarge, match="but at most 1,048,576"):
            await client.enqueue(text_, value="x" * 1_048_577)
        with pytest.raises(PayloadTooLarge):
            await client.enqueue("text", value="x" * 1_048_577)

    async def test_a_nul_character_is_refused(self, client: TaskClient, registry: Registry) -> None:
        @task("text", registry=registry)
        async def text_(ctx: TaskContext, value: str) -> None: ...

        for target in (text_, "text"):
            with pytest.raises(InvalidArguments, match="NUL"):
                await client.enqueue(target, value="a\x00b")
        await client.enqueue(text_, value="a\\u0000b")  # a backslash is no NUL

    async def test_what_is_not_json_is_refused(self, client: TaskClient) -> None:
        with pytest.raises(InvalidArguments, match="object is not JSON"):
            await client.enqueue("anything", value=object())


class TestStockArqClients:
    @pytest.fixture
    async def stock(self, settings: Settings) -> AsyncIterator[ArqRedis]:
        """As a stock arq client is made: `create_pool` with our serializer."""
        from arq import create_pool

        from uow.broker.redis import arq_settings

        pool = await create_pool(
            arq_settings(settings.redis_url.get_secret_value()),
            job_serializer=codec.serialize,
            job_deserializer=codec.deserialize,
        )
        yield pool
        await pool.aclose()

    async def test_a_stock_clients_job_has_the_same_id_whoever_meets_it_first(
        self, db: Database, stock: ArqRedis, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        await stock.enqueue_job("double", 4, _job_id="theirs")
        await drain()
        found = await db.execute_once(text("SELECT id FROM task WHERE job_id = 'theirs'"), {})
        assert found.scalar_one().version == 5

    async def test_a_job_gets_a_row_a_history_and_its_result(
        self, db: Database, stock: ArqRedis, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        job = await stock.enqueue_job("double", 21, _job_id="mine")
        assert job is not None
        await drain()
        assert await job.result(timeout=10) == 42
        found = await db.execute_once(text("SELECT name, state, args, job_id FROM task"), {})
        assert found.one()._mapping == {
            "name": "double",
            "state": "succeeded",
            "args": {"n": 21},
            "job_id": "mine",
        }

    async def test_an_id_may_be_used_again(
        self, db: Database, stock: ArqRedis, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        for number in (1, 2):
            job = await stock.enqueue_job("double", n=number, _job_id="mine")
            assert job is not None
            await drain()
            assert await job.result(timeout=10) == 2 * number
            await stock.delete("arq:result:mine")
        assert await rows(db) == 2

    async def test_a_failure_comes_back_as_a_failure(
        self, stock: ArqRedis, registry: Registry, drain: Drain
    ) -> None:
        @task("fails", max_tries=1, registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise KeyError("k")

        job = await stock.enqueue_job("fails")
        assert job is not None
        await drain()
        with pytest.raises(TaskFailed, match="KeyError: 'k'"):
            await job.result(timeout=10)

    async def test_wrong_arguments_are_told_to_the_client_and_make_no_row(
        self, db: Database, stock: ArqRedis, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        job = await stock.enqueue_job("double", "x")
        assert job is not None
        await drain()
        with pytest.raises(TaskFailed, match="InvalidArguments: double: "):
            await job.result(timeout=10)
        assert await rows(db) == 0

    async def test_a_task_without_a_row_stays_without_one(
        self, db: Database, stock: ArqRedis, plain: TaskFunction[..., int], drain: Drain
    ) -> None:
        job = await stock.enqueue_job("plain", 21)
        assert job is not None
        await drain()
        assert await job.result(timeout=10) == 42
        assert await rows(db) == 0

    async def test_oversized_arguments_are_refused_where_they_are_sent(
        self, stock: ArqRedis
    ) -> None:
        from arq.jobs import SerializationError

        with pytest.raises(SerializationError) as caught:
            await stock.enqueue_job("double", "x" * 1_048_577)
        assert isinstance(caught.value.__cause__, PayloadTooLarge)


class TestPlainSql:
    async def test_an_insert_of_a_name_and_arguments_is_enough(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        statement = """INSERT INTO task (name, args) VALUES ('double', '{"n": 21}') RETURNING id"""
        task_id = (await db.execute_once(text(statement), {})).scalar_one()
        await drain()
        assert await client.handle(task_id).result(10) == 42

    async def test_the_keys_of_its_arguments_keep_their_order(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("keys", registry=registry)
        async def keys(ctx: TaskContext, columns: dict[str, int]) -> str:
            return ",".join(columns)

        task_id = (
            await db.execute_once(
                text("INSERT INTO task (name, args) VALUES ('keys', CAST(:args AS json)) "
                     "RETURNING id"),
                {"args": '{"columns": {"zebra": 1, "ant": 2, "bee": 3}}'},
            )
        ).scalar_one()  # fmt: skip
        await drain()
        assert await client.handle(task_id).result(10) == "zebra,ant,bee"

    async def test_arguments_that_do_not_fit_fail_the_task(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        statement = """INSERT INTO task (name, args) VALUES ('double', '{"n": "x"}') RETURNING id"""
        task_id = (await db.execute_once(text(statement), {})).scalar_one()
        await drain()
        with pytest.raises(TaskFailed, match="InvalidArguments: double: n: "):
            await client.handle(task_id).result(10)


class TestIds:
    async def test_they_sort_in_the_order_of_enqueueing_whoever_makes_them(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        ids = [(await client.enqueue(double, n=1)).id]
        async with db.get_session() as session:
            ids += [one.id for one in await double.enqueue_many(session, [{"n": 2}, {"n": 3}])]
            ids.append((await double.enqueue(session, n=4)).id)
            by_hand = text("INSERT INTO task (name, args) VALUES ('double', '{}') RETURNING id")
            ids += [(await session.execute(by_hand)).scalar_one() for _ in range(2)]
            ids.append((await double.enqueue(session, n=5)).id)
        found = await db.execute_once(text("SELECT id FROM task ORDER BY id"), {})
        assert found.scalars().all() == ids == sorted(ids)
        assert {one.version for one in ids} == {7}
        assert {one.variant for one in ids} == {RFC_4122}

    async def test_rows_inserted_by_hand_get_their_time_from_the_table(self, db: Database) -> None:
        """To the microsecond, as those of `uow.ids`; also within one transaction."""
        now = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
        insert = text(f"INSERT INTO task (name) VALUES ('x') RETURNING id, {now}")
        async with db.get_session() as session:
            for _ in range(20):
                task_id, microseconds = (await session.execute(insert)).one()
                time = (task_id.int >> 80) * 1000 + (task_id.int >> 64 & 0xFFF) * 1000 / 4096
                assert 0 <= microseconds - time < 1_000_000


async def test_tasks_can_live_in_a_schema_of_their_own_beside_a_services_tables(
    empty_database_url: str, settings: Settings, registry: Registry, double: TaskFunction[..., int]
) -> None:
    ours = settings.model_copy(
        update={"database_url": SecretStr(empty_database_url), "database_schema": "jobs"}
    )
    async with Database.from_settings(ours.require_database()) as db:
        await db.execute_once(text("CREATE TABLE task (theirs text)"), {})
        await migrations.upgrade(db)
        engine = create_async_engine(empty_database_url)  # the service's own
        async with TaskClient.from_settings(ours, db=db):
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(text("INSERT INTO task VALUES ('a row of theirs')"))
                handle = await double.enqueue(session, n=1)
            assert await handle.status() is TaskState.QUEUED
        await engine.dispose()


async def test_pushing_twice_is_pushing_once(redis: RedisClient) -> None:
    job = scripts.Job("id", "arq:queue", 1, 0, b"{}")
    assert await scripts.push(scripts.caller(redis), [job]) == 1
    assert await scripts.push(scripts.caller(redis), [job]) == 0
    await redis.delete("arq:job:id")
    assert await scripts.push(scripts.caller(redis), [job]) == 1
    assert await redis.ttl("arq:job:id") == -1


async def test_job_status_from_a_stock_client_for_our_task(
    client: TaskClient, double: TaskFunction[..., int], settings: Settings
) -> None:
    redis = connect(settings.redis_url.get_secret_value())
    handle = await client.enqueue(double, n=1)
    await client.flush()
    assert (await Job(str(handle.id), redis).status()).value == "queued"
    await redis.aclose()
