"""What docs/migrating-from-arq.md tells an arq user to do, done."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis, create_pool
from sqlalchemy import text

from tests.processes import ROOT, environment_of
from uow import Database, Settings
from uow.broker import codec
from uow.broker.redis import RedisClient, arq_settings
from uow.embedded import EmbeddedRedis
from uow.tasks import outlets

GUIDE = (ROOT / "docs" / "migrating-from-arq.md").read_text()

Run = Callable[..., Awaitable[str]]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The files of the guide, in a folder of their own."""
    files = re.findall(r"`(app/\w+\.py)`[^`]*:\n\n```python\n(.*?)```", GUIDE, re.DOTALL)
    assert [name for name, _ in files] == [
        "app/jobs.py", "app/wire.py", "app/tasks.py", "app/orders.py"
    ]  # fmt: skip
    assert len(files) == GUIDE.count("```python")
    (tmp_path / "app").mkdir()
    for name, source in files:
        (tmp_path / name).write_text(source)
    return tmp_path


@pytest.fixture
def run(app: Path, settings: Settings, redis_server: EmbeddedRedis) -> Run:
    """Run a command as the guide says; returns what it has said."""
    mine = settings.model_copy(update={"task_modules": ("app.tasks",), "queue": "tasks"})
    environment = environment_of(mine, REDIS_URL=redis_server.url, WORKER_QUEUE="tasks")
    environment["PYTHONPATH"] = os.pathsep.join([str(app), environment["PYTHONPATH"]])

    async def run_command(*command: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", *command], cwd=app, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return str(done.stdout)

    return run_command


@pytest.fixture
async def pickling(redis: RedisClient, redis_server: EmbeddedRedis) -> AsyncIterator[ArqRedis]:
    """A client as arq makes it."""
    pool = await create_pool(arq_settings(redis_server.url))
    yield pool
    await pool.aclose()


async def test_step_0_a_stock_class_runs_unchanged(pickling: ArqRedis, run: Run) -> None:
    job = await pickling.enqueue_job("confirm_order", 7)
    assert job is not None
    said = await run("uow", "run", "app.jobs.WorkerSettings", "--allow-pickle", "--burst")
    assert await job.result() == "order 7 is confirmed"
    assert "confirm_order(7)" in said


NOT_FOR_STEP_0 = {
    "aiosmtplib", "alembic", "asyncpg", "fastapi", "greenlet", "httpx", "pydantic_settings",
    "sqlalchemy", "uvicorn", "watchfiles",
}  # fmt: skip
"""What is installed, and would be time and memory of each process of somebody's arq class."""


async def test_step_0_imports_nothing_that_an_arq_class_does_not_need(
    pickling: ArqRedis, run: Run, app: Path
) -> None:
    looks = "\n".join([
        "import sys", "from app.jobs import WorkerSettings", "class Looks(WorkerSettings):",
        "    async def on_shutdown(ctx):",
        "        print('imported:', *{name.partition('.')[0] for name in sys.modules})",
    ])  # fmt: skip
    (app / "app" / "looks.py").write_text(looks)
    job = await pickling.enqueue_job("confirm_order", 7)
    assert job is not None
    said = await run("uow", "run", "app.looks.Looks", "--allow-pickle", "--burst")
    assert await job.result() == "order 7 is confirmed"
    (imported,) = re.findall("^imported: (.*)$", said, re.MULTILINE)
    assert not NOT_FOR_STEP_0 & {*imported.split()}
    assert {"arq", "redis", "typer", "uvloop"} <= {*imported.split()}


async def test_step_0_without_redis_url_is_one_clear_line(app: Path) -> None:
    command = [sys.executable, "-m", "uow", "run", "app.jobs.WorkerSettings"]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=app, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said == (
        "worker: app.jobs.WorkerSettings: cannot import app.jobs: KeyError: 'REDIS_URL' "
        "(app/jobs.py:12)"
    )


async def test_step_1_both_kinds_of_bytes_are_read(
    pickling: ArqRedis, redis: RedisClient, run: Run, app: Path
) -> None:
    both = "\n".join([
        "from uow.broker import codec", "from app.jobs import WorkerSettings",
        "from app.wire import read_both", "class Both(WorkerSettings):",
        "    job_serializer = codec.serialize", "    job_deserializer = read_both",
    ])  # fmt: skip
    (app / "app" / "both.py").write_text(both)
    old = await pickling.enqueue_job("confirm_order", 1)
    assert isinstance(redis, ArqRedis)
    new = await redis.enqueue_job("confirm_order", 2)
    assert old is not None
    assert new is not None
    await run("uow", "run", "app.both.Both", "--burst")
    results = [await redis.get(f"arq:result:{job.job_id}") for job in (old, new)]
    assert [codec.deserialize(result)["r"] for result in results] == [
        "order 1 is confirmed", "order 2 is confirmed"
    ]  # fmt: skip


async def test_step_3_the_first_task(
    run: Run, app: Path, db: Database, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await execute(db, "CREATE TABLE orders (id bigint PRIMARY KEY, confirmed boolean)")
    monkeypatch.syspath_prepend(app)
    monkeypatch.setenv("WORKER_QUEUE", "tasks")
    uncached = outlets._environment.__wrapped__  # another test of this process may have asked
    monkeypatch.setattr(outlets, "_environment", uncached)
    from app.orders import create_order  # type: ignore[import-not-found]

    for name in ("app.orders", "app.tasks", "app"):  # nobody else is to find this one
        monkeypatch.delitem(sys.modules, name)

    async with db.get_session() as session:
        await create_order(session, 1)
    await execute(db, "INSERT INTO orders (id) VALUES (2)")
    assert isinstance(redis, ArqRedis)
    await redis.enqueue_job("orders.confirm", order_id=2, _queue_name="tasks")
    await run("uow", "run", "--burst")
    found = await execute(db, "SELECT count(*) FROM orders WHERE confirmed")
    assert found.scalar_one() == 2
    states = await execute(db, "SELECT state, result FROM task")
    assert states.all() == [("succeeded", "confirmed")] * 2


async def execute(db: Database, statement: str) -> Any:
    return await db.execute_once(text(statement), {})
