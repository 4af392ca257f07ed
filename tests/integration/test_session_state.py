"""Nothing that is set in a session of Postgres meets the next one, nor a statement of ours."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import Result, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from tests.conftest import SEARCH_PATH, Drain
from tests.contexts import id_of
from tests.pgbouncer import pgbouncer
from uow import (
    Backoff,
    Database,
    Settings,
    TaskClient,
    TaskContext,
    TaskState,
    TransactionAborted,
    task,
)
from uow.attempt.unit_of_work import UnitOfWork
from uow.db import interventions
from uow.db.attempts import Guard
from uow.db.connection import Connection
from uow.db.outcomes import succeed
from uow.settings.parts import DatabaseSettings
from uow.tasks.context import Sessions
from uow.tasks.registry import Registry
from worker.models import User

AT_ONCE = Backoff(base=0, cap=0)

TENANT = """
    DO $$ BEGIN CREATE ROLE tenant; EXCEPTION WHEN duplicate_object THEN END $$;
    CREATE SCHEMA tenant AUTHORIZATION tenant;
    CREATE TABLE effect (what text DEFAULT current_user);
    GRANT ALL ON effect TO tenant;
    """

SEEN = text("""
    SELECT current_user, session_user, current_setting('search_path'),
        current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('default_transaction_read_only'),
        coalesce(current_setting('app.tenant', true), ''),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        to_regclass('pg_temp.left_over'), (SELECT count(*) FROM pg_listening_channels()),
        (SELECT count(*) FROM pg_cursors WHERE is_holdable)
    """)
BACKEND = text("SELECT pg_backend_pid()")
NEW = ("postgres", "postgres", SEARCH_PATH["search_path"], "0", "0", "off", "", 0, None, 0, 0)

LASTING = [
    "SET ROLE tenant",
    "SET SESSION AUTHORIZATION tenant",
    "SET search_path TO tenant, pg_catalog",
    "SET statement_timeout = 1",
    "SET lock_timeout = 1",
    "SET default_transaction_read_only = on",
    "SELECT set_config('app.tenant', '7', false)",
    "SELECT pg_advisory_lock(1)",
    "CREATE TEMP TABLE left_over (n int)",
    "LISTEN something",
    "DECLARE left_open CURSOR WITH HOLD FOR SELECT 1",
]
LOCAL = ["SET LOCAL ROLE tenant", "SET LOCAL search_path TO tenant, pg_catalog"]


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    """With a table of somebody's own, that of the application's users."""
    return application_template


@pytest.fixture(autouse=True)
async def tenants(db: Database) -> None:
    await run(db, TENANT)


@pytest.fixture
async def single(settings: Settings) -> AsyncIterator[Database]:
    """A pool of one connection: whoever is next gets what was left."""
    part = settings.require_database()
    async with Database.from_settings(
        DatabaseSettings(part.url, 1, part.schema, part.pooler)
    ) as database:
        yield database


async def run(db: Database, statements: str) -> None:
    """Run what may be several statements, as one message."""
    async with db.get_session() as session:
        await (await driver(session)).execute(statements)


async def driver(session: AsyncSession) -> Connection:
    pooled = await (await session.connection()).get_raw_connection()
    found = pooled.driver_connection
    assert isinstance(found, Connection)
    return found


async def seen(db: Database) -> tuple[object, ...]:
    """What the next one to have a connection finds."""
    return as_found(await db.execute_once(SEEN, {}))


def as_found(result: Result[Any]) -> tuple[object, ...]:
    return tuple(result.one())


async def put(db: Database) -> UUID:
    id_ = uuid4()
    row = "INSERT INTO task (id, name, state, attempt) VALUES (:id, 'x', 'running', 1)"
    await db.execute_once(text(row), {"id": id_})
    return id_


async def commit(db: Database, work: UnitOfWork, id_: UUID) -> bool:
    try:
        return await work.commit_with(succeed(id_, "1", 60.0), id_, 1) is Guard.HELD
    finally:
        await work.rollback()


async def state(db: Database, id_: UUID) -> str:
    found = await db.execute_once(text("SELECT state FROM task WHERE id = :id"), {"id": id_})
    return str(found.scalar_one())


async def effects(db: Database) -> list[str]:
    found = await db.execute_once(text("SELECT what FROM public.effect"), {})
    return list(found.scalars())


# -- what the next one finds -----------------------------------------------------------------------


@pytest.mark.parametrize("statement", LASTING)
async def test_what_a_session_outside_tasks_sets_is_gone_before_the_next_has_its_connection(
    single: Database, statement: str
) -> None:
    async with single.get_session() as session:
        await session.execute(text(statement))
    assert await seen(single) == NEW


async def set_and_look_after_a_commit(db: Sessions) -> str | None:
    async with db.get_session() as session:
        await session.execute(text("SELECT set_config('app.tenant', '7', false)"))
        await session.commit()
        found = await session.scalar(text("SELECT current_setting('app.tenant', true)"))
        return found or None


async def test_what_a_session_outside_tasks_sets_ends_with_its_commit(db: Database) -> None:
    assert await set_and_look_after_a_commit(db) is None


@pytest.mark.parametrize("atomic", [True, False])
async def test_what_a_block_sets_ends_with_its_commit_if_that_is_one(
    client: TaskClient, registry: Registry, drain: Drain, atomic: bool
) -> None:
    @task("sets", atomic=atomic, max_tries=1, registry=registry)
    async def sets(ctx: TaskContext) -> str | None:
        return await set_and_look_after_a_commit(ctx["db"])

    handle = await client.enqueue(sets)
    await drain()
    assert await handle.result(10) == ("7" if atomic else None)


@pytest.mark.parametrize("kind", ["atomic", "separate", "rowless"])
async def test_what_a_task_sets_neither_stops_its_completion_nor_meets_the_next_one(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    found: list[tuple[object, ...]] = []

    @task(
        "sets", atomic=kind != "separate", durable=kind != "rowless", max_tries=1, registry=registry
    )
    async def sets(ctx: TaskContext, what: str) -> str:
        async with ctx["db"].get_session() as session:
            await session.execute(text("INSERT INTO public.effect VALUES ('done')"))
            await session.execute(text(what))
        return "done"

    @task("looks", max_tries=1, registry=registry)
    async def looks(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            found.append(as_found(await session.execute(SEEN)))

    handles = await client.enqueue_many(sets, [{"what": one} for one in LASTING + LOCAL])
    await drain()
    await client.enqueue_many(looks, [{}] * 5)
    await drain()
    assert [await handle.result(10) for handle in handles] == ["done"] * len(handles)
    assert await effects(db) == ["done"] * len(handles)
    assert found == [NEW] * 5


@pytest.mark.parametrize("end", ["fails", "superseded"])
async def test_what_an_attempt_sets_is_gone_when_nothing_of_it_is_committed(
    single: Database, end: str
) -> None:
    id_, work = await put(single), UnitOfWork(single)
    if end == "superseded":
        await interventions.cancel(single, id_, 60.0)
    async with work.get_session() as session:
        raw = await driver(session)
        await session.execute(text("SELECT pg_advisory_lock(1)"))  # no ROLLBACK undoes it
    if end == "superseded":
        assert await commit(single, work, id_) is False
    else:
        await work.rollback()
    assert await seen(single) == NEW
    assert not raw.is_closed()


async def test_what_only_we_have_had_is_not_reset(single: Database) -> None:
    async with single.get_session() as session:
        raw = await driver(session)
    await single.ping()
    before = raw._protocol.queries_count
    await single.ping()
    assert raw._protocol.queries_count == before + 1


async def test_a_commit_of_a_unit_of_work_takes_no_round_trip_for_the_reset(
    single: Database,
) -> None:
    id_, work = await put(single), UnitOfWork(single)
    async with work.get_session() as session:
        raw = await driver(session)
        await session.execute(text("SET ROLE tenant"))
    before = raw._protocol.queries_count
    assert await commit(single, work, id_) is True
    assert raw._protocol.queries_count == before + 1
    assert await seen(single) == NEW


# -- the commit ------------------------------------------------------------------------------------


async def test_a_deferred_trigger_runs_as_who_the_task_has_become(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    await run(
        db,
        """
        CREATE TABLE audit (who text);
        GRANT ALL ON audit TO tenant;
        CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN INSERT INTO audit VALUES (current_user); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER audit AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION audit()
        """,
    )

    @task("tenants", max_tries=1, registry=registry)
    async def tenants(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text("SET LOCAL ROLE tenant"))
            await session.execute(text("INSERT INTO effect DEFAULT VALUES"))

    handle = await client.enqueue(tenants)
    await drain()
    await handle.result(10)
    found = await db.execute_once(text("SELECT who FROM audit"), {})
    assert found.scalars().all() == ["tenant"]


async def test_a_function_of_a_tenants_is_not_run_as_us(single: Database) -> None:
    await run(
        single,
        """
        CREATE FUNCTION tenant.multiply(numeric, bigint) RETURNS numeric LANGUAGE plpgsql
        AS 'BEGIN INSERT INTO public.effect VALUES (current_user); RETURN 0; END';
        CREATE OPERATOR tenant.* (LEFTARG = numeric, RIGHTARG = bigint,
            FUNCTION = tenant.multiply)
        """,
    )
    id_, work = await put(single), UnitOfWork(single)
    async with work.get_session() as session:
        await session.execute(text("SET LOCAL search_path TO tenant, pg_catalog"))
        await session.execute(text("SET LOCAL ROLE tenant"))
        await session.execute(text("RESET worker.begun"))  # so that the guard comes to multiply
    with pytest.raises(Exception, match="COMMIT or ROLLBACK as text"):
        await commit(single, work, id_)
    assert await effects(single) == []


async def test_a_commit_of_what_is_aborted_is_none_though_a_reset_follows(
    single: Database,
) -> None:
    id_, work = await put(single), UnitOfWork(single)
    async with work.get_session() as session:
        raw = await driver(session)
        await session.execute(text("SELECT 1"))
    with pytest.raises(asyncpg.UndefinedTableError):
        await raw.execute("SELECT * FROM missing")
    with pytest.raises(DBAPIError, match="aborted"):
        await commit(single, work, id_)
    assert await state(single, id_) == TaskState.RUNNING


async def test_a_commit_that_postgres_makes_a_rollback_is_told_whoever_has_swallowed_why(
    single: Database,
) -> None:
    with pytest.raises(TransactionAborted):
        async with single.get_session() as session:
            await session.execute(text("INSERT INTO effect VALUES ('lost')"))
            with pytest.raises(asyncpg.UndefinedTableError):
                await (await driver(session)).execute("SELECT * FROM missing")
    assert await effects(single) == []


@pytest.mark.parametrize("fails", ["SELECT 1 / 0;", "SELECT * FROM missing;"])
async def test_a_reset_that_fails_after_the_commit_makes_the_task_no_failure(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, fails: str
) -> None:
    raws: list[Connection] = []

    @task("unresettable", max_tries=1, registry=registry)
    async def unresettable(ctx: TaskContext) -> str:
        async with ctx["db"].get_session() as session:
            await session.execute(text("INSERT INTO effect VALUES ('done')"))
            raws.append(await driver(session))
            raws[-1].keep(fails)
        return "done"

    handle = await client.enqueue(unresettable)
    await drain()
    assert await handle.result(10) == "done"
    assert await effects(db) == ["done"]
    assert [raw.is_closed() for raw in raws] == [True]


async def test_a_reset_that_fails_ends_the_connection_and_nothing_else(single: Database) -> None:
    async with single.get_session() as session:
        await session.execute(text("INSERT INTO effect VALUES ('done')"))
        raw = await driver(session)
        raw.keep("SELECT 1 / 0;")
    assert raw.is_closed()
    assert await effects(single) == ["done"]


async def test_a_statement_timeout_that_a_task_has_set_does_not_end_its_completion(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    await run(
        db,
        """
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
        CREATE TRIGGER slow BEFORE UPDATE ON task FOR EACH ROW
        WHEN (NEW.state = 'succeeded') EXECUTE FUNCTION slow()
        """,
    )

    @task("hurries", max_tries=1, registry=registry)
    async def hurries(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text("SET statement_timeout = 20"))

    handle = await client.enqueue(hurries)
    await drain()
    await handle.result(10)


async def test_a_lock_timeout_that_a_task_has_set_does_not_end_its_completion(
    db: Database, single: Database
) -> None:
    id_, work = await put(single), UnitOfWork(single)
    async with work.get_session() as session:
        await session.execute(text("SET lock_timeout = 20"))
    async with db.get_session() as other:
        await other.execute(text("SELECT FROM task WHERE id = :id FOR UPDATE"), {"id": id_})
        committing = asyncio.ensure_future(commit(single, work, id_))
        await other.execute(text("SELECT pg_sleep(0.1)"))
    assert await committing is True


async def test_a_block_of_its_own_is_guarded_also_when_all_of_it_is_written_at_the_commit(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("adds", atomic=False, registry=registry)
    async def adds(ctx: TaskContext) -> None:
        await interventions.cancel(db, id_of(ctx), 60.0)
        async with ctx["db"].get_session() as session:
            session.add(User(username="ada", email="ada@example.com"))

    handle = await client.enqueue(adds)
    await drain()
    assert await handle.status() is TaskState.CANCELLED
    assert (await db.execute_once(text("SELECT count(*) FROM users"), {})).scalar_one() == 0


# -- behind a proxy that pools transactions --------------------------------------------------------


async def test_behind_a_transaction_pooling_proxy_what_is_local_is_safe_and_nothing_is_reset(
    database_url: str, settings: Settings, registry: Registry, drain: Drain
) -> None:
    with pgbouncer(database_url, default_pool_size="1") as url:
        more = {"database_url": SecretStr(url), "database_pooler": True}
        settings.__dict__.update(settings.model_copy(update=more).__dict__)
        begun = {"atomic": True, "separate": False}

        for name, atomic in begun.items():

            @task(name, atomic=atomic, max_tries=1, registry=registry)
            async def tenants(ctx: TaskContext) -> None:
                async with ctx["db"].get_session() as session:
                    await session.execute(text("SET LOCAL ROLE tenant"))
                    await session.execute(text("SET LOCAL statement_timeout = 5000"))
                    await session.execute(text("INSERT INTO effect DEFAULT VALUES"))

        async with TaskClient.from_settings(settings) as client:
            async with client.db.get_session() as session:
                await session.execute(text("SELECT set_config('app.tenant', '7', false)"))
                connection = await session.scalar(BACKEND)
            handles = [await client.enqueue(name) for name in begun]
            await drain()
            for handle in handles:
                await handle.result(10)
            assert await effects(client.db) == ["tenant"] * 2
            found = await seen(client.db)
            # A worker that closes may break what is under way, and the proxy connects anew then.
            is_same = (await client.db.execute_once(BACKEND, {})).scalar_one() == connection
            assert found == (*NEW[:6], "7" if is_same else "", *NEW[7:])
