"""A database that is serializable by default: users' transactions are, the worker's own are not."""

import asyncio
import logging
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text

from tests.conftest import Drain
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.db import fleet
from uow.tasks.registry import Registry

SHOWN = text("SELECT current_setting('transaction_isolation')")
TOUCH = text("UPDATE worker_process SET heartbeat_at = now()")
WAITS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


async def make_serializable(db: Database) -> None:
    name = (await db.execute_once(text("SELECT current_database()"), {})).scalar_one()
    default = f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
    await db.execute_once(text(default), {})


@pytest.fixture
async def strict(database_url: str) -> AsyncIterator[Database]:
    """The test's database, where transactions are serializable from now on."""
    async with Database(database_url) as db:
        await make_serializable(db)
    async with Database(database_url) as db:
        yield db


async def beat(db: Database) -> None:
    await fleet.beat(db, "me", app="worker", queues=["arq:queue"], running=[], leaving=False)


async def beat_against_another(db: Database) -> None:
    """A heartbeat that waits for a change of its row, which is committed then."""
    await beat(db)
    async with db.engine.connect() as other:
        await other.execute(TOUCH)
        another = asyncio.create_task(beat(db))
        while not (await db.execute_once(WAITS, {})).scalar():
            await asyncio.sleep(0)
        await other.commit()
        await another


async def test_a_statement_of_ours_that_meets_another_is_no_failure(strict: Database) -> None:
    await beat_against_another(strict)


async def test_a_default_that_is_changed_under_way_is_no_failure_either(db: Database) -> None:
    await db.ping()
    await make_serializable(db)
    await db.engine.dispose()
    await beat_against_another(db)


async def test_several_statements_of_ours_see_what_is_committed_between_them(
    strict: Database,
) -> None:
    async with strict.transaction() as transaction:
        assert (await transaction.execute(SHOWN, {})).scalar_one() == "read committed"


DEADLOCKS = text(
    "CREATE FUNCTION deadlocks(times int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
    " IF nextval('met') <= times THEN RAISE 'met another' USING ERRCODE = '40P01'; END IF;"
    " RETURN currval('met'); END $$"
)
MEETS = text("SELECT deadlocks(CAST(:times AS integer))")


@pytest.mark.parametrize("pooler", [False, True])
async def test_what_postgres_has_undone_for_another_is_repeated_once_and_no_more(
    database_url: str, pooler: bool
) -> None:
    async with Database(database_url, pooler=pooler) as db:
        await db.execute_once(text("CREATE SEQUENCE met"), {})
        await db.execute_once(DEADLOCKS, {})
        assert (await db.execute_once(MEETS, {"times": 1})).scalar_one() == 2
        with pytest.raises(asyncpg.DeadlockDetectedError):
            await db.execute_once(MEETS, {"times": 100})
        assert (await db.execute_once(text("SELECT last_value FROM met"), {})).scalar_one() == 4


async def test_users_transactions_are_what_the_database_says(
    strict: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen = []

    async def look(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            seen.append(await session.scalar(SHOWN))

    for name, atomic in (("together", True), ("apart", False)):
        await client.enqueue(task(name, atomic=atomic, registry=registry)(look))
    await drain()
    async with strict.get_session() as session:
        seen.append(await session.scalar(SHOWN))
    assert seen == ["serializable"] * 3


async def test_many_tasks_run_and_nobody_calls_it_an_outage(
    strict: Database,
    client: TaskClient,
    registry: Registry,
    drain: Drain,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @task("busy", registry=registry)
    async def busy(ctx: TaskContext) -> None:
        await ctx["task"].report(at=1)

    handles = await client.enqueue_many(busy, [{} for _ in range(150)])
    with caplog.at_level(logging.WARNING):
        await asyncio.gather(drain(), drain())
    for handle in handles:
        await handle.result(5)
    assert caplog.messages == []
    handed_back = text("SELECT count(*) FROM task WHERE attempt > 1 OR tries > 0")
    assert (await strict.execute_once(handed_back, {})).scalar_one() == 0
