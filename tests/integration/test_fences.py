"""What an attempt leaves behind in Postgres holds no lock for long, behind a pooling proxy, too:

its transaction is fenced by its own timeout, and ended when its process is taken for dead.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import Drain
from tests.pgbouncer import pgbouncer
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.attempt.rescue import take_back
from uow.attempt.unit_of_work import UnitOfWork
from uow.db.connection import Connection as Driver
from uow.db.direct import driver_of
from uow.db.failures import PASSING
from uow.db.fragments import FENCE_SECONDS
from uow.tasks.function import TaskFunction
from uow.tasks.registry import Registry

FENCE = text("SELECT current_setting('idle_in_transaction_session_timeout')")
CHECK = text("SELECT current_setting('client_connection_check_interval')")
LOCKED = text("UPDATE counter SET n = n + 1")
DIES = text(
    "INSERT INTO worker_process (id, app, queue, running, heartbeat_at)"
    " VALUES (:id, 'worker', 'arq:queue', '{}', '-infinity')"
)


@pytest.fixture(params=["direct", "pooled"])
def way(
    request: pytest.FixtureRequest, database_url: str, settings: Settings
) -> Iterator[Settings]:
    """Settings that lead to the test's database, straight or through a proxy."""
    if request.param == "direct":
        yield settings
        return
    with pgbouncer(database_url) as url:
        more = {"database_url": SecretStr(url), "database_pooler": True}
        settings.__dict__.update(settings.model_copy(update=more).__dict__)
        yield settings


@asynccontextmanager
async def process(settings: Settings, name: str) -> AsyncIterator[Database]:
    """What a worker process of that name has."""
    part = settings.require_database()
    async with Database.from_settings(part, fence_seconds=60, process=name) as db:
        yield db


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("durable", [True, False])
async def test_each_attempt_is_fenced_by_its_own_timeout(
    way: Settings, registry: Registry, drain: Drain, atomic: bool, durable: bool
) -> None:
    fences: dict[str, list[str]] = {"short": [], "day": []}

    async def look(ctx: TaskContext) -> None:
        for _ in range(2):
            async with ctx["db"].get_session() as session:
                fences[ctx["task"].name].append(str(await session.scalar(FENCE)))

    def within(name: str, timeout: float) -> TaskFunction[[], None]:
        made = task(name, timeout=timeout, atomic=atomic, durable=durable, registry=registry)
        return made(look)

    short, day = within("short", 7), within("day", 86_400)
    async with TaskClient.from_settings(way) as client:
        for function in (short, day, short):
            await client.enqueue(function)
        await drain()
    assert fences == {
        "short": [f"{7 + FENCE_SECONDS}s"] * 4,
        "day": [f"{86_400 + FENCE_SECONDS}s"] * 2,
    }


async def test_a_failed_block_and_a_commit_in_its_middle_leave_the_fence(
    way: Settings, registry: Registry, drain: Drain
) -> None:
    fences = []

    async def look(ctx: TaskContext) -> None:
        with pytest.raises(DBAPIError):
            async with ctx["db"].get_session() as session:
                await session.execute(text("SELECT 1 / 0"))
        async with ctx["db"].get_session() as session:
            async with session.begin_nested():
                fences.append(await session.scalar(FENCE))
            await session.commit()
            fences.append(await session.scalar(FENCE))

    async with TaskClient.from_settings(way) as client:
        for name, atomic in (("together", True), ("apart", False)):
            function = task(name, timeout=7, atomic=atomic, registry=registry)(look)
            await client.enqueue(function)
        await drain()
    assert fences == [f"{7 + FENCE_SECONDS}s"] * 4


async def test_what_a_begin_that_was_never_said_would_have_brought_goes_to_nobody(
    db: Database,
) -> None:
    work = UnitOfWork(db, 7)
    async with work.get_session():
        pass
    async with work.get_session() as session:
        await session.connection()
    await work.rollback()
    async with db.get_session() as session:
        assert await session.scalar(FENCE) == "0"


async def test_postgres_ends_a_transaction_that_stands_idle_beyond_its_fence(
    way: Settings,
) -> None:
    async with process(way, "idle") as db:
        async with db.engine.connect() as connection:
            db.fence(driver_under(connection), 0.05 - FENCE_SECONDS)
            await connection.execute(text("SELECT 1"))
            async with asyncio.timeout(10):
                while not await _is_closed(connection):
                    await asyncio.sleep(0)
            await connection.invalidate()


async def _is_closed(connection: AsyncConnection) -> bool:
    raw = await connection.get_raw_connection()
    assert raw.driver_connection is not None
    return bool(raw.driver_connection.is_closed())


async def test_postgres_looks_whether_an_attempts_process_is_there(way: Settings) -> None:
    assert await _interval(way) == "2s"


async def test_that_it_looks_is_said_once_for_each_connection_and_not_with_each_begin(
    settings: Settings,
) -> None:
    async with process(settings, "looked-at") as db:
        for _ in range(2):  # when they are new, and when they are as new
            async with db.engine.connect() as first, db.engine.connect() as second:
                assert [await one.scalar(CHECK) for one in (first, second)] == ["2s", "2s"]
        assert "client_connection" not in db._opening.fence(7)


async def test_what_postgres_was_told_about_absent_clients_is_left_as_it_is(
    settings: Settings, db: Database
) -> None:
    name = (await db.execute_once(text("SELECT current_database()"), {})).scalar_one()
    told = f"ALTER DATABASE {name} SET client_connection_check_interval = '7s'"
    await db.execute_once(text(told), {})
    assert await _interval(settings) == "7s"


async def _interval(settings: Settings) -> str:
    async with process(settings, "looked-at") as db:
        async with db.engine.connect() as connection:
            db.fence(driver_under(connection), 7)
            return str(await connection.scalar(CHECK))


async def test_a_statement_ends_when_its_process_has_gone(way: Settings, db: Database) -> None:
    async with process(way, "goes") as worker:
        async with worker.engine.connect() as connection:
            worker.fence(driver_under(connection), 60)
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
            long = asyncio.create_task(connection.execute(text("SELECT pg_sleep(50)")))
            active = text("SELECT state = 'active' FROM pg_stat_activity WHERE pid = :pid")
            while not (await db.execute_once(active, {"pid": pid})).scalar():
                await asyncio.sleep(0)
            raw = await connection.get_raw_connection()
            driver_of(raw)._transport.abort()
            with pytest.raises(DBAPIError):
                await long
            await connection.invalidate()
        async with asyncio.timeout(20):
            while (await db.execute_once(active, {"pid": pid})).scalar():
                await asyncio.sleep(0)


async def test_taking_a_process_for_dead_ends_its_transactions_and_no_others(
    way: Settings, db: Database
) -> None:
    await db.execute_once(text("CREATE TABLE counter (n int)"), {})
    await db.execute_once(text("INSERT INTO counter VALUES (0)"), {})
    await db.execute_once(DIES, {"id": "host:1:dead00"})
    async with process(way, "host:1:dead00") as dead, process(way, "host:1:alive0") as alive:
        async with dead.engine.connect() as theirs, alive.engine.connect() as other:
            for one, connection in ((dead, theirs), (alive, other)):
                one.fence(driver_under(connection), 60)
            await theirs.execute(LOCKED)
            await other.execute(text("SELECT 1"))
            await take_back(alive, way)
            async with asyncio.timeout(10):
                await db.execute_once(LOCKED, {})
            with pytest.raises(PASSING):
                await theirs.execute(text("SELECT 1"))
            await other.execute(text("SELECT 1"))
        await dead.ping()  # a process that comes back has new ones


async def test_what_cannot_be_ended_is_said_once_and_tasks_are_taken_back_all_the_same(
    settings: Settings, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await db.execute_once(text("REVOKE EXECUTE ON FUNCTION pg_terminate_backend FROM PUBLIC"), {})
    await db.execute_once(text("CREATE ROLE weak LOGIN"), {})
    try:
        await db.execute_once(text("GRANT USAGE ON SCHEMA worker TO weak"), {})
        await db.execute_once(text("GRANT ALL ON ALL TABLES IN SCHEMA worker TO weak"), {})
        url = db.engine.url.set(username="weak")
        async with Database(url, process="weak") as weak:
            for number in range(2):
                await _leave_a_task(db, f"dead-{number}")
                with caplog.at_level(logging.WARNING, "uow.services.rescuer"):
                    assert len(await take_back(weak, settings)) == 1
        assert caplog.text.count("cannot be ended") == 1
        assert "permission denied for function pg_terminate_backend" in caplog.text
    finally:
        await db.execute_once(text("DROP OWNED BY weak"), {})
        await db.execute_once(text("DROP ROLE weak"), {})


async def _leave_a_task(db: Database, process: str) -> None:
    await db.execute_once(DIES, {"id": process})
    await db.execute_once(
        text("INSERT INTO task (name, state, worker, attempt) VALUES ('x', 'running', :w, 1)"),
        {"w": process},
    )


def driver_under(connection: AsyncConnection) -> Driver:
    assert connection.sync_connection is not None
    return driver_of(connection.sync_connection.connection)
