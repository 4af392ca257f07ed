"""A pooling proxy between us and Postgres: everything works through it, or it is refused."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.conftest import Drain
from tests.pgbouncer import pgbouncer
from tests.pools import checked_out
from tests.processes import run_command
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.db import migrations
from uow.db.connection import Connection
from uow.errors import ServerUnreachable, SettingsError
from uow.services.readiness import refuse_unmigrated, wait_for_tables
from uow.services.relay import Listener
from uow.tasks.registry import Registry

IGNORED = (
    "idle_in_transaction_session_timeout,"
    "tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count"
)
"""With these a proxy takes every startup parameter of ours without a word."""


@pytest.fixture
def proxied(database_url: str) -> Iterator[str]:
    """The test's database, through a proxy that pools transactions."""
    with pgbouncer(database_url) as url:
        yield url


def through(settings: Settings, url: str, pooler: object) -> Settings:
    """`settings`, changed in place: with another way to the database."""
    more = {"database_url": SecretStr(url), "database_pooler": pooler}
    settings.__dict__.update(settings.model_copy(update=more).__dict__)
    return settings


async def test_everything_works_through_a_transaction_pooling_proxy(
    proxied: str, settings: Settings, registry: Registry, drain: Drain
) -> None:
    through(settings, proxied, True)

    @task("through.the.proxy", registry=registry)
    async def work(ctx: TaskContext, n: int) -> int:
        async with ctx["db"].get_session() as session:
            first = await session.scalar(text("SELECT CAST(:n AS integer)"), {"n": n})
        async with ctx["db"].get_session() as session:
            return int(first or 0) + int(await session.scalar(text("SELECT 1")) or 0)

    async with TaskClient.from_settings(settings) as client:
        await migrations.upgrade(client.db)
        handles = await client.enqueue_many(work, [{"n": n} for n in range(40)])
        async with client.db.get_session() as session:
            handles.append(await work.enqueue(session, n=40))
        await asyncio.gather(*(client.db.ping() for _ in range(20)))
        await drain()
        results = await asyncio.gather(*(handle.result(5) for handle in handles))
    assert results == [n + 1 for n in range(41)]


async def test_migrations_go_through_it_also_those_that_are_no_transaction(
    empty_database_url: str,
) -> None:
    with pgbouncer(empty_database_url) as url:
        async with Database(url, pooler=True) as db:
            await migrations.upgrade(db)
            await refuse_unmigrated(db)
            await migrations.downgrade(db, "tasks_007")
            await migrations.upgrade(db)


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_proxy_that_nobody_speaks_of_is_refused_at_the_first_connection(
    database_url: str, mode: str
) -> None:
    with pgbouncer(database_url, pool_mode=mode) as url:
        async with Database(url) as db:
            for _ in range(2):  # not only once
                with pytest.raises(SettingsError, match="WORKER_DATABASE_POOLER=transaction .*="):
                    async with db.get_session() as session:
                        await session.execute(text("SELECT 1"))
                with pytest.raises(SettingsError, match="WORKER_DATABASE_POOLER=session"):
                    await db.ping()
            assert checked_out(db) == 0


async def test_a_client_whose_proxy_nobody_speaks_of_is_refused(
    proxied: str, settings: Settings, registry: Registry
) -> None:
    @task("through.the.proxy", registry=registry)
    async def work(ctx: TaskContext) -> None: ...

    through(settings, proxied, False)
    async with TaskClient.from_settings(settings) as client:
        with pytest.raises(SettingsError, match="WORKER_DATABASE_POOLER"):
            await client.enqueue(work)


@pytest.mark.parametrize("ignored", ["", IGNORED])
async def test_a_worker_whose_proxy_nobody_speaks_of_ends_at_once_with_one_line(
    database_url: str, settings: Settings, ignored: str
) -> None:
    with pgbouncer(database_url, ignore_startup_parameters=ignored) as url:
        ended = await run_command(
            through(settings, url, False), "run",
            WORKER_TASK_MODULES="tests.conformance.tasks", WORKER_CONNECT_TIMEOUT="60",
        )  # fmt: skip
    assert ended.returncode == 1
    assert "WORKER_DATABASE_POOLER=transaction" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


async def test_a_startup_parameter_that_a_proxy_refuses_is_said_and_not_waited_for(
    proxied: str,
) -> None:
    mine = {"server_settings": {"work_mem": "8MB"}}
    async with Database(proxied, pooler=True, connect_args=mine) as db:
        with pytest.raises(SettingsError, match="startup parameter: work_mem.*take that parameter"):
            await wait_for_tables(db, timeout=50)
    async with Database(proxied, fence_seconds=60) as db:
        with pytest.raises(SettingsError, match="refuses us .*WORKER_DATABASE_POOLER=transaction"):
            await wait_for_tables(db, timeout=50)


async def test_a_proxy_that_pools_sessions_gives_what_postgres_gives(
    database_url: str, settings: Settings, registry: Registry, drain: Drain
) -> None:
    @task("through.a.session", registry=registry)
    async def work(ctx: TaskContext, n: int) -> int:
        async with ctx["db"].get_session() as session:
            return int(await session.scalar(text("SELECT CAST(:n AS integer)"), {"n": n}) or 0)

    with pgbouncer(database_url, pool_mode="session", default_pool_size="20") as url:
        through(settings, url, "session")
        woken = asyncio.Event()
        async with TaskClient.from_settings(settings) as client:
            listener = Listener(client.db, woken.set)
            await listener.start()
            await woken.wait()  # it listens, which a connection of its own is needed for
            handles = await client.enqueue_many(work, [{"n": n} for n in range(20)])
            await drain()
            results = await asyncio.gather(*(handle.result(5) for handle in handles))
            await listener.stop()
    assert results == list(range(20))


TOO_SMALL = "pooling proxy has no connection of Postgres's left .*too small for the fleet"


async def test_a_proxy_whose_pool_is_too_small_is_told_as_that(database_url: str) -> None:
    small = {"default_pool_size": "1", "query_wait_timeout": "1"}
    with pgbouncer(database_url, **small) as url:
        async with Database(url, pooler=True) as db:
            await db.ping()
            async with db.transaction() as transaction:
                await transaction.execute(text("SELECT 1"), {})
                with pytest.raises(ServerUnreachable, match="or is the pooling proxy's pool too"):
                    await db.execute_once(text("SELECT 1"), {}, limit=0.1)
                with pytest.raises(ServerUnreachable, match=TOO_SMALL):
                    await db.ping()


async def test_a_proxy_that_takes_no_more_clients_is_told_as_that(database_url: str) -> None:
    with pgbouncer(database_url, max_client_conn="1") as url:
        async with Database(url, pooler="session") as db:
            async with db.get_session() as session:
                await session.execute(text("SELECT 1"))
                with pytest.raises(ServerUnreachable, match=TOO_SMALL):
                    await db.ping()
                with pytest.raises(ServerUnreachable, match=TOO_SMALL):
                    async with db.get_session() as other:
                        await other.execute(text("SELECT 1"))


async def test_a_task_for_which_the_proxy_has_no_connection_is_handed_back_and_never_blamed(
    settings: Settings, registry: Registry, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @task("through.a.small.pool", registry=registry)
    async def work(ctx: TaskContext) -> None:
        raise refused

    refused = asyncpg.ProtocolViolationError("query_wait_timeout")
    async with TaskClient.from_settings(settings) as client:
        handle = await client.enqueue(work)
        await drain()
        found = await client.db.execute_once(text("SELECT state, tries, setbacks FROM task"), {})
    assert [tuple(row) for row in found] == [("queued", 0, 0)]
    assert f"{handle.id} handed back: the pooling proxy's pool is used up" in caplog.text


async def test_only_the_first_connection_is_asked_what_is_at_its_other_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    execute = Connection.execute

    async def counted(connection: Connection, query: str, **more: object) -> str:
        asked.append(query)
        return await execute(connection, query, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "execute", counted)
    async with Database(database_url) as db:
        await db.ping()
        asked_first = [query for query in asked if "pg_backend_pid" in query]
        async with db.engine.connect(), db.engine.connect(), db.engine.connect():
            pass
    assert len(asked_first) == 1
    assert [query for query in asked if "pg_backend_pid" in query] == asked_first


async def test_an_application_name_in_the_url_is_kept_and_a_workers_name_follows(
    database_url: str,
) -> None:
    named = database_url + "&application_name=it's mine, all of it, and it goes on and on and on"
    shown = text("SELECT current_setting('application_name')")
    async with Database(named) as db:
        assert (await db.execute_once(shown, {})).scalar_one().startswith("it's mine, all")
    async with Database(named, process="a-host:17:abcdef") as db:
        name = (await db.execute_once(shown, {})).scalar_one()
    assert name == "it-s mine- all of it- and it goes on and o uow a-host:17:abcdef"
