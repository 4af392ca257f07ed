"""The commands, as a user types them."""

import asyncio
import json
import subprocess
import sys
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from tests.processes import ROOT, environment_of
from worker import Database, Settings, TaskClient
from worker.execution.registry import Registry, default_registry


async def worker(
    settings: Settings, *arguments: str, **more: str
) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "worker", *arguments],
        env=environment_of(settings, **more), cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


async def test_migrate_up_twice_down_and_up_again(
    settings: Settings, empty_database_url: str
) -> None:
    for arguments in ([], [], ["--down", "base"], []):
        done = await worker(
            settings, "migrate", *arguments, WORKER_DATABASE_URL=empty_database_url,
            WORKER_BUILTIN_TASKS="true",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    async with Database(empty_database_url) as db:
        for table in ("task", "users"):
            await db.execute_once(text(f"SELECT count(*) FROM {table}"), {})


async def test_migrate_beside_a_foreign_table_is_one_clear_line(
    settings: Settings, empty_database_url: str
) -> None:
    async with Database(empty_database_url) as db:
        await db.execute_once(text("CREATE TABLE task (theirs text)"), {})
    done = await worker(settings, "migrate", WORKER_DATABASE_URL=empty_database_url)
    assert done.returncode == 1
    assert "already has a table task that is not ours. Set WORKER_DATABASE_SCHEMA" in done.stderr


@pytest.fixture
def registry() -> Registry:
    return default_registry


async def test_enqueue_prints_the_id_of_a_task_that_runs(
    settings: Settings, client: TaskClient, drain: Drain
) -> None:
    import tests.acceptance.tasks  # noqa: F401 - registers what `drain` runs

    done = await worker(settings, "enqueue", "accept.plain", "n=21")
    assert done.returncode == 0, done.stderr
    done = await worker(settings, "enqueue", "accept.effect", "what=21", "--user-id", "7")
    handle = client.handle(UUID(done.stdout.strip()))
    await drain()
    assert await handle.result(5) == "21"  # text stays text where the hint says so
    view = await client.get(handle.id)
    assert view is not None
    assert view.user_id == "7"


async def test_enqueue_can_wait_for_the_result(settings: Settings, drain: Drain) -> None:
    waiting = asyncio.create_task(worker(settings, "enqueue", "accept.effect", "what=x", "--wait"))
    while not waiting.done():
        await drain()
    done = waiting.result()
    assert json.loads(done.stdout.splitlines()[1]) == "x", done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["accept.efect"], "no task function is called accept.efect; did you mean accept.effect?"),
        (["accept.effect"], "accept.effect: what: Field required"),
        (["accept.effect", "what"], "'what' is not key=value"),
        (["accept.plain", "n=many"], "accept.plain: n: Input should be a valid integer"),
        (["accept.effect", "what=x", "--priority", "99"], "priority=99 is not between 0 and 9"),
        (["accept.plain", "n=1", "--user-id", "7"], "accept.plain is durable=False"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_enqueueing_nonsense_is_one_clear_line_and_exit_code_1(
    arguments: list[str], message: str, settings: Settings
) -> None:
    done = await worker(settings, "enqueue", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
