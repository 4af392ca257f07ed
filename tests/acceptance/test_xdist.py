"""The kit in several processes of pytest-xdist at once, all on one test database."""

from pathlib import Path

import pytest

from tests.acceptance.users_tests import assert_empty, assert_pass
from uow import Database, Settings

CONFTEST = """
import os

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine


@pytest.fixture
async def session():
    engine = create_async_engine(os.environ["TEST_DATABASE_URL"])
    async with engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        ) as session:
            yield session
        await transaction.rollback()
    await engine.dispose()
"""

TASKS = """
from uow import TaskContext, cron, task


@cron("0 * * * *")
@task("tidy")
async def tidy(ctx: TaskContext) -> None: ...


@task("double")
async def double(ctx: TaskContext, n: int) -> int:
    return 2 * n


@task("ping", durable=False)
async def ping(ctx: TaskContext) -> None: ...
"""

TESTS = """
import pytest
from tasks_of_xdist import double, ping, tidy

from uow.testing import perform

EACH = pytest.mark.parametrize("n", range(6))


@EACH
async def test_without_servers(n):
    assert await perform(double, n=n) == 2 * n


@EACH
async def test_in_the_tests_own_transaction(n, session, tasks):
    await double.options(unique_key="one").enqueue(session, n=n)
    tasks.assert_enqueued(double, n=n)
    assert len(tasks.enqueued()) == 1
    tasks.travel(hours=2)
    names = [one.task.name for one in await tasks.drain()]
    assert sorted(names) == ["double", "tidy", "tidy"]
    await tasks.run_twice(double, n=n)


@EACH
async def test_with_throwaway_servers(n, embedded_tasks, embedded_settings):
    assert embedded_tasks.enqueued() == []
    assert await embedded_tasks.run(double.options(unique_key="one"), n=n) == 2 * n
    await embedded_tasks.run(ping)
    assert len(embedded_tasks.enqueued(double)) == 1
"""


@pytest.mark.timeout(150)  # three processes that import everything anew, two of them with servers
async def test_all_three_levels_beside_each_other(
    tmp_path: Path, settings: Settings, db: Database
) -> None:
    files = {"conftest.py": CONFTEST, "tasks_of_xdist.py": TASKS, "test_levels.py": TESTS}
    for name, source in files.items():
        (tmp_path / name).write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\npythonpath = .\n")
    assert_pass(tmp_path, settings, "tasks_of_xdist", 18, "-n", "2", ".", timeout=120)
    await assert_empty(db, "worker.task", "worker.schedule", "worker.schedule_tick")
