"""What the README tells a newcomer to type, typed; and what the tables of the reference say."""

import asyncio
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from tests.acceptance.conftest import wait_until
from tests.processes import ROOT, environment_of
from uow import Database, Settings, TaskContext
from uow.tasks.context import RunningTask
from uow.tasks.function import DEFAULT_TIMEOUT
from uow.tasks.retry import RetryPolicy

README = (ROOT / "README.md").read_text()
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The files of the README, in a folder of their own."""
    files = re.findall(r"`(app/\w+\.py)`:\n\n```python\n(.*?)```", README, re.DOTALL)
    assert [name for name, _ in files] == ["app/tasks.py", "app/api.py", "app/small.py"]
    (tmp_path / "app").mkdir()
    for name, source in files:
        (tmp_path / name).write_text(source)
    return tmp_path


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    mine = settings.model_copy(update={"task_modules": ("app.tasks",), "lease_seconds": 2.0})
    return environment_of(mine)


@pytest.fixture
def processes(app: Path, environment: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    commands = [
        [sys.executable, "-m", "uow", "run"],
        [sys.executable, "-m", "uvicorn", "app.api:app", "--port", "0", "--app-dir", "."],
    ]
    running = [
        subprocess.Popen(command, cwd=app, env=environment, stderr=subprocess.PIPE)
        for command in commands
    ]
    yield running
    for process in running:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


async def test_a_newcomers_own_task_runs_exactly_once(
    db: Database, processes: list[subprocess.Popen[bytes]]
) -> None:
    await db.execute_once(
        text("CREATE TABLE orders (id bigserial PRIMARY KEY, confirmed boolean DEFAULT false)"), {}
    )
    url = await asyncio.to_thread(address_of, processes[1])
    async with httpx.AsyncClient(base_url=url) as http:
        response = await http.post("/orders")
    assert response.status_code == 201, response.text

    async def confirmed() -> bool:
        found = await db.execute_once(text("SELECT count(*) FROM orders WHERE confirmed"), {})
        return bool(found.scalar_one() == 1)

    await wait_until(confirmed)
    found = await db.execute_once(text("SELECT CAST(id AS text), state, result FROM task"), {})
    assert [tuple(row) for row in found] == [(response.json()["task"], "succeeded", "confirmed")]


async def test_a_small_service_runs_its_worker_itself(
    app: Path, db: Database, environment: dict[str, str]
) -> None:
    await db.execute_once(
        text("CREATE TABLE orders (id bigserial PRIMARY KEY, confirmed boolean DEFAULT false)"), {}
    )
    await db.execute_once(text("INSERT INTO orders DEFAULT VALUES"), {})
    command = [sys.executable, "-m", "uvicorn", "app.small:app", "--port", "0", "--app-dir", "."]
    server = subprocess.Popen(command, cwd=app, env=environment, stderr=subprocess.PIPE)
    try:
        url = await asyncio.to_thread(address_of, server)
        async with httpx.AsyncClient(base_url=url) as http:
            response = await http.post("/orders/1/confirm")
        assert response.status_code == 202, response.text

        async def confirmed() -> bool:
            found = await db.execute_once(text("SELECT confirmed FROM orders"), {})
            return bool(found.scalar_one())

        await wait_until(confirmed)
        server.terminate()
        _, errors = await asyncio.to_thread(server.communicate, timeout=20)
        assert b"Application shutdown complete" in errors, "the signal is the server's to hear"
        found = await db.execute_once(text("SELECT leaving FROM worker_process"), {})
        assert found.scalars().all() == [True], "the worker has left the fleet"
    finally:
        server.kill()
        server.wait()


def test_the_page_of_ctx_lists_all_that_is_in_it_and_in_its_task() -> None:
    page = (REFERENCE / "ctx.md").read_text()
    keys = re.findall(r'^\| `"(\w+)"` \|', page, re.MULTILINE)
    assert sorted(keys) == sorted(TaskContext.__annotations__)
    rows = page.partition('`ctx["task"].…`')[2]
    named = {name for row in rows.splitlines() for name in re.findall(r"`(?:await )?(\w+)", row)}
    fields = {field.name for field in dataclasses.fields(RunningTask)} - {"db", "after_commit"}
    assert {*fields, "report", "on_commit"} <= named


def test_the_page_at_a_glance_names_the_defaults_of_a_task() -> None:
    page = (REFERENCE / "at-a-glance.md").read_text()
    policy = RetryPolicy()
    assert f"{policy.max_tries} by default" in page
    assert f"({DEFAULT_TIMEOUT:g} s by default)" in page
    backoff = ", ".join(
        f"{name}={getattr(policy.backoff, name):g}" for name in ("base", "factor", "cap", "jitter")
    )
    assert f"`{backoff}`" in page


def address_of(server: subprocess.Popen[bytes]) -> str:
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(rb"running on (http://\S+)", line):
            return found[1].decode()
    raise AssertionError("the server did not start")


def test_the_page_of_commands_has_every_command() -> None:
    page = (REFERENCE / "commands.md").read_text()
    listed = set(re.findall(r"^\| `worker (\w+)", page, re.MULTILINE))
    shown = subprocess.run(
        [sys.executable, "-m", "uow", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert listed == {
        "migrate", "run", "check", "api", "enqueue", "cancel", "retry", "queue", "queues",
        "pauses", "cron", "demo", "chaos", "bench", "tasks",
        "workers", "top", "audit", "users", "failures",
        "tokens", "doctor",
    }  # fmt: skip
    assert all(command in shown for command in listed)
