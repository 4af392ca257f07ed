"""Nothing that user code does to its session reaches another task through the pool."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest
from asyncpg import ConnectionDoesNotExistError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from tests.conftest import Drain
from tests.pools import checked_out
from uow import Database, TaskClient, TaskContext, task
from uow.db import direct
from uow.db.connection import Connection
from uow.db.failures import is_infrastructure
from uow.settings.environment import Settings
from uow.settings.parts import DatabaseSettings
from uow.tasks import retry
from uow.tasks.registry import Registry

INSERT = text("INSERT INTO effect VALUES (:what)")
SLOW = text("INSERT INTO effect SELECT 'left running' FROM pg_sleep(0.2)")

Bug = Callable[[AsyncSession], Awaitable[object]]


@pytest.fixture
async def single(settings: Settings) -> AsyncIterator[Database]:
    """A pool of one connection: whoever is next gets what was left."""
    part = settings.require_database()
    one = DatabaseSettings(part.url, 1, part.schema, part.pooler)
    async with Database.from_settings(one) as database:
        await database.execute_once(text("CREATE TABLE effect (what text)"), {})
        yield database
        assert checked_out(database) == 0


async def gather_of_which_one_part_fails(session: AsyncSession) -> None:
    async def fail() -> None:
        raise ValueError("one of the two fails")

    await session.execute(text("SELECT 1"))
    await asyncio.gather(session.execute(SLOW), fail())


async def statement_left_running(session: AsyncSession) -> None:
    await session.execute(text("SELECT 1"))
    running = asyncio.ensure_future(session.execute(SLOW))
    await asyncio.sleep(0)
    running.add_done_callback(lambda done: done.exception())
    raise ValueError("and the block is left")


async def driver_left_running(session: AsyncSession) -> None:
    raw = await driver(session)
    running = asyncio.ensure_future(raw.execute("SELECT pg_sleep(0.2)"))
    await asyncio.sleep(0)
    running.add_done_callback(lambda done: done.exception())


async def transaction_begun_by_hand(session: AsyncSession) -> None:
    await (await driver(session)).execute("BEGIN; SELECT 1")


async def driver(session: AsyncSession) -> Connection:
    pooled = await (await session.connection()).get_raw_connection()
    found = pooled.driver_connection
    assert isinstance(found, Connection)
    return found


BUGS: list[Bug] = [
    gather_of_which_one_part_fails,
    statement_left_running,
    driver_left_running,
    transaction_begun_by_hand,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
async def test_what_a_block_leaves_behind_is_gone_before_the_next_has_the_connection(
    single: Database, bug: Bug
) -> None:
    for _ in range(2):
        with suppress(ValueError):
            async with single.get_session() as session:
                await bug(session)
        await single.execute_once(INSERT, {"what": "acknowledged"})
        async with single.get_session() as session:
            await session.execute(INSERT, {"what": "acknowledged"})
    other = single.engine.url.render_as_string(hide_password=False)
    async with Database(other) as outside:
        seen = await outside.execute_once(text("SELECT what FROM effect"), {})
    assert seen.scalars().all() == ["acknowledged"] * 4


async def test_a_connection_that_is_used_after_it_has_come_back_is_replaced(
    single: Database,
) -> None:
    async with single.get_session() as session:
        leaked = await driver(session)
    await leaked.execute("BEGIN; INSERT INTO effect VALUES ('leaked')")
    await single.execute_once(INSERT, {"what": "acknowledged"})
    found = await single.execute_once(text("SELECT what FROM effect"), {})
    assert found.scalars().all() == ["acknowledged"]
    assert leaked.is_closed()


async def test_whether_a_connection_is_idle_is_known_without_asking_the_server(
    single: Database,
) -> None:
    async with single.get_session() as session:
        raw = await driver(session)
        assert raw.is_idle()
        running = asyncio.ensure_future(raw.execute("SELECT 1"))
        await asyncio.sleep(0)
        assert not raw.is_idle()
        await running
        assert raw.is_idle()
        await raw.execute("BEGIN")
        assert not raw.is_idle()
        await raw.execute("ROLLBACK")
        running = asyncio.ensure_future(raw.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0)
        assert not raw.is_idle(), "it is being cancelled"
        with suppress(asyncio.CancelledError):
            await running
        queries = raw._protocol.queries_count
        raw.is_idle()
        assert raw._protocol.queries_count == queries


async def test_a_server_whose_last_word_came_before_the_end_is_a_lost_connection(
    single: Database,
) -> None:
    async with single.get_session() as session:
        raw = await driver(session)
    words = b"SFATAL\0C57P01\0Mterminating connection\0\0"
    raw._protocol.data_received(b"E" + (len(words) + 4).to_bytes(4, "big") + words)
    with pytest.raises(ConnectionDoesNotExistError, match="the connection is lost"):
        await single.ping()
    await single.ping()


@pytest.mark.parametrize("bug", BUGS[:3], ids=lambda bug: bug.__name__)
async def test_a_task_with_a_statement_left_running_fails_alone(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, bug: Bug
) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})

    @task("bug", max_tries=1, registry=registry)
    async def buggy(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await bug(session)

    @task("innocent", max_tries=1, registry=registry)
    async def innocent(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "innocent"})

    for _ in range(3):
        await client.enqueue_many(buggy, [{}] * 3)
        handles = await client.enqueue_many(innocent, [{}] * 5)
        await drain()
        for handle in handles:
            await handle.result(10)
    found = await db.execute_once(text("SELECT what FROM effect"), {})
    assert found.scalars().all() == ["innocent"] * 15


async def test_the_drivers_connection_can_be_asked_through_the_pool(single: Database) -> None:
    async with single.engine.connect() as connection:
        pooled = await connection.get_raw_connection()
        assert direct.driver_of(pooled).is_idle()


@pytest.mark.parametrize("statement", ["DEALLOCATE ALL", "SET default_transaction_read_only = on"])
async def test_a_connection_that_a_task_has_spoilt_serves_nobody_for_long(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, statement: str
) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})

    @task("spoils", max_tries=1, registry=registry)
    async def spoils(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text(statement))

    @task("innocent", max_tries=1, registry=registry)
    async def innocent(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "innocent"})

    await client.enqueue_many(innocent, [{}] * 5)
    await drain()
    await client.enqueue_many(spoils, [{}] * 5)
    await drain()
    handles = await client.enqueue_many(innocent, [{}] * 5)
    for _ in range(3):
        await drain()
        await db.execute_once(text("UPDATE task SET run_at = now() WHERE settled_at IS NULL"), {})
        await client.redis.flushdb()
    await drain()
    for handle in handles:
        await handle.result(10)


@pytest.mark.parametrize("durable", [True, False])
async def test_a_migration_under_load_burns_no_try_and_the_connection_is_replaced(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, durable: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(retry, "HAND_BACK_SECONDS", (0.0, 0.0))
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})
    read = text("SELECT * FROM effect")
    raws: list[Connection] = []
    was_closed: list[bool] = []

    @task("reads", durable=durable, max_tries=1, registry=registry)
    async def reads(ctx: TaskContext) -> int:
        if not raws:
            with suppress(ValueError):
                async with ctx["db"].get_session() as session:
                    await session.execute(read)
                    raws.append(await driver(session))
                    raise ValueError("so that nothing is locked")
            await db.execute_once(text("ALTER TABLE effect ADD COLUMN more text"), {})
        else:
            was_closed.append(raws[0].is_closed())
        async with ctx["db"].get_session() as session:
            return len((await session.execute(read)).keys())

    handle = await client.enqueue(reads)
    while not (await handle.status()).settled:
        await drain()
    assert await handle.result(10) == 2
    assert was_closed == [True]


async def test_a_migration_under_load_spoils_the_connection_of_a_session_outside_tasks(
    single: Database, db: Database
) -> None:
    read = text("SELECT * FROM effect")
    async with single.get_session() as session:
        await session.execute(read)
        raw = await driver(session)
    await db.execute_once(text("ALTER TABLE effect ADD COLUMN more text"), {})
    with pytest.raises(DBAPIError, match="cached statement plan is invalid") as caught:
        async with single.get_session() as session:
            await session.execute(read)
    assert is_infrastructure(caught.value)
    assert raw.is_closed()
    async with single.get_session() as session:
        assert len((await session.execute(read)).keys()) == 2
