"""Whatever is done with a connection has a limit, and each end of it is called what it is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tests.conftest import Drain
from tests.pools import checked_out
from tests.proxy import Proxy
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.attempt.unit_of_work import UnitOfWork
from uow.db import begun_attempt, migrations
from uow.db.direct import driver_of
from uow.db.failures import Kind, cause_of
from uow.db.outcomes import succeed
from uow.db.server import ping
from uow.embedded import EmbeddedPostgres
from uow.errors import ServerUnreachable
from uow.tasks.registry import Registry

SOON = 0.05


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begun_attempt, "COMMIT_SECONDS", SOON)
    monkeypatch.setattr(begun_attempt, "ROLLBACK_SECONDS", SOON)


@asynccontextmanager
async def way(server: EmbeddedPostgres, database: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy that can fall silent, and the URL that leads through it."""
    url = make_url(server.url_for(database))
    async with Proxy(str(url.host), url.port or 0).listening() as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port)
        yield proxy, through.render_as_string(hide_password=False)


async def test_a_pool_that_is_in_use_is_no_outage(database_url: str) -> None:
    async with Database(database_url, pool_size=2) as db:
        async with db.engine.connect(), db.engine.connect():
            with pytest.raises(PoolTimeout, match="free for 0.05 s.*WORKER_POOL_SIZE") as caught:
                await ping(db, limit=SOON)
        cause = cause_of(caught.value)
        assert cause is not None
        assert cause.kind is Kind.STATEMENT
        await db.ping()


async def test_a_wait_for_a_connection_can_be_cancelled_by_others(database_url: str) -> None:
    async with Database(database_url, pool_size=1) as db:
        async with db.engine.connect():
            waiting = asyncio.create_task(db.ping())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            async with asyncio.timeout(10) as outer:
                with pytest.raises(PoolTimeout):
                    await ping(db, limit=SOON)
            assert not outer.expired()
        await db.ping()


async def test_a_pool_that_may_grow_closes_what_it_does_not_keep(database_url: str) -> None:
    async with Database(database_url, pool_size=1, max_overflow=2) as db:
        await asyncio.gather(*(db.ping() for _ in range(10)))
        assert checked_out(db) == 0
        async with db.engine.connect(), db.engine.connect(), db.engine.connect():
            with pytest.raises(PoolTimeout):
                await ping(db, limit=SOON)


@pytest.fixture
async def tcp() -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres(tcp=True) as server:
        yield server


async def test_a_connection_that_must_be_made_anew_has_a_limit_and_is_called_an_outage(
    tcp: EmbeddedPostgres,
) -> None:
    async with way(tcp, "postgres") as (proxy, url), Database(url, pool_size=2) as db:
        async with db.engine.connect() as one:
            raw = await one.get_raw_connection()
            driver_of(raw).terminate()
            await one.invalidate()
        proxy.passes.clear()
        with pytest.raises(ServerUnreachable):
            await ping(db, limit=SOON)
        proxy.passes.set()
        assert checked_out(db) == 0
        await db.ping()


async def commit_with(work: UnitOfWork) -> None:
    nothing = uuid4()
    await work.commit_with(succeed(nothing, "null", 1.0), nothing, 1)


async def commit(work: UnitOfWork) -> None:
    await work.commit()


@pytest.mark.parametrize("how", [commit_with, commit])
async def test_a_commit_without_an_answer_ends_its_connection_and_is_nobody_elses_failure(
    tcp: EmbeddedPostgres, how: Callable[[UnitOfWork], Awaitable[None]]
) -> None:
    async with way(tcp, "postgres") as (proxy, url), Database(url) as db:
        work = UnitOfWork(db)
        async with work.get_session() as session:
            await session.execute(text("SELECT 1"))
        proxy.passes.clear()
        async with asyncio.timeout(10):
            with pytest.raises(asyncpg.PostgresError, match="answered a COMMIT for 0.05") as caught:
                await how(work)
            await work.rollback()
        cause = cause_of(caught.value)
        assert cause is not None
        assert cause.kind is Kind.CONNECTION
        assert checked_out(db) == 0
        proxy.passes.set()


async def test_a_rollback_without_an_answer_is_the_end_of_its_connection(
    tcp: EmbeddedPostgres,
) -> None:
    async with way(tcp, "postgres") as (proxy, url), Database(url) as db:
        work = UnitOfWork(db)
        async with work.get_session() as session:
            await session.execute(text("SELECT 1"))
        proxy.passes.clear()
        async with asyncio.timeout(10):
            await work.rollback()
        assert checked_out(db) == 0
        proxy.passes.set()
        await db.ping()


async def test_a_commit_that_was_done_without_an_answer_is_read_back(
    tcp: EmbeddedPostgres,
    settings: Settings,
    registry: Registry,
    drain: Drain,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with way(tcp, "postgres") as (proxy, url):
        more = {"database_url": SecretStr(url)}
        settings.__dict__.update(settings.model_copy(update=more).__dict__)

        @task("quick", registry=registry)
        async def quick(ctx: TaskContext) -> str:
            async with ctx["db"].get_session() as session:
                await session.execute(text("SELECT 1"))
            proxy.hold_answer_to = b"'succeeded'"
            return "done"

        async with TaskClient.from_settings(settings) as client:
            await migrations.upgrade(client.db)
            handle = await client.enqueue(quick)
            async with asyncio.timeout(20):
                await drain()
            assert await handle.result(10) == "done"
            view = await client.get(handle.id)
            assert view is not None
            assert (view.attempt, view.tries) == (1, 0)
    assert proxy.held.is_set()
    assert "the COMMIT's answer was lost, but it is committed" in caplog.text
