"""The commands, as a user types them."""

import asyncio
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from tests.processes import ROOT, run_command, run_fresh_command
from uow import Database, Settings, TaskClient, TaskRef, TaskState
from uow.db import fleet, migrations
from uow.tasks.registry import Registry, default_registry


async def test_migrate_up_twice_down_and_up_again(
    settings: Settings, empty_database_url: str
) -> None:
    for arguments in ([], [], ["--down", "base"], []):
        done = await run_command(
            settings, "migrate", *arguments, WORKER_DATABASE_URL=empty_database_url,
            WORKER_TASK_MODULES="",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    async with Database(empty_database_url) as db:
        for table in ("task", "users"):
            await db.execute_once(text(f"SELECT count(*) FROM {table}"), {})


async def test_migrate_writes_no_table_anew_under_a_live_worker_and_says_so_in_one_line(
    settings: Settings, db: Database
) -> None:
    await migrations.downgrade(db, "tasks_008")
    lives = "INSERT INTO worker_process (id, queue, running) VALUES ('host:7', 'q', '{}')"
    await db.execute_once(text(lives), {})
    done = await run_command(settings, "migrate", "--rewrite")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "host:7 (queue q, " in line
    assert "Stop all workers and migrate again; what was done so far stays" in line
    await fleet.leave(db, "host:7")
    assert (await run_command(settings, "migrate")).returncode == 0


async def test_migrate_beside_a_foreign_table_is_one_clear_line(
    settings: Settings, empty_database_url: str
) -> None:
    async with Database(empty_database_url) as db:
        await db.execute_once(text("CREATE TABLE task (theirs text)"), {})
    done = await run_command(
        settings, "migrate", WORKER_DATABASE_URL=empty_database_url, WORKER_DATABASE_SCHEMA="public"
    )
    assert done.returncode == 1
    assert "already has a table task that is not ours. Set WORKER_DATABASE_SCHEMA" in done.stderr


@pytest.fixture
def registry() -> Registry:
    return default_registry


async def test_enqueue_prints_the_id_of_a_task_that_runs(
    settings: Settings, client: TaskClient, drain: Drain
) -> None:
    import tests.acceptance.tasks  # noqa: F401 - registers what `drain` runs

    done = await run_fresh_command(settings, "enqueue", "accept.plain", "n=21")
    assert done.returncode == 0, done.stderr
    done = await run_command(settings, "enqueue", "accept.effect", "what=21", "--user-id", "7")
    handle = client.handle(UUID(done.stdout.strip()))
    await drain()
    assert await handle.result(5) == "21"  # text stays text where the hint says so
    view = await client.get(handle.id)
    assert view is not None
    assert view.user_id == "7"


async def test_enqueue_reads_each_value_as_its_parameter_says_whatever_the_others_need(
    settings: Settings, client: TaskClient
) -> None:
    given = ("zip_code=12345", "items=[1, 2]", "note=[x]", "weight=null")
    done = await run_command(settings, "enqueue", "accept.ship", *given)
    view = await client.get(UUID(done.stdout.strip()))
    assert view is not None, done.stderr
    assert view.args == {"zip_code": "12345", "items": [1, 2], "note": "[x]", "weight": None}


async def test_enqueue_can_wait_for_the_result(settings: Settings, drain: Drain) -> None:
    waiting = asyncio.create_task(
        run_command(settings, "enqueue", "accept.effect", "what=x", "--wait")
    )
    while not waiting.done():
        await drain()
    done = waiting.result()
    assert json.loads(done.stdout.splitlines()[1]) == "x", done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["accept.efect"],
            "did you mean accept.effect? (looked in WORKER_TASK_MODULES=tests.acceptance.tasks)",
        ),
        (["accept.effect", "what=x", "--timeout", "5"], "--timeout needs --wait"),
        (["accept.effect"], "accept.effect: what: Field required"),
        (["accept.effect", "what"], "'what' is not key=value"),
        (["accept.plain", "n=many"], "accept.plain: n: Input should be a valid integer"),
        (["accept.ship", "zip_code=1", "items=7"], "accept.ship: items: Input should be a valid"),
        (["accept.ship", "zip_code=1", 'items=[1, "x"]'], "accept.ship: items.1: Input should be"),
        (["accept.effect", "what=x", "--priority", "99"], "priority=99 is not between 0 and 9"),
        (["accept.plain", "n=1", "--user-id", "7"], "accept.plain is durable=False"),
        (
            ["accept.effect", "what=x", "--unique", "waiting"],
            "unique_key is held, but there is none",
        ),
        (
            ["accept.effect", "what=x", "--unique-key", "k", "--unique", "x"],
            "unique='x' is neither",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_enqueueing_nonsense_is_one_clear_line_and_exit_code_1(
    arguments: list[str], message: str, settings: Settings
) -> None:
    done = await run_command(settings, "enqueue", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_enqueueing_an_unknown_name_without_task_modules_says_which_setting_names_them(
    settings: Settings,
) -> None:
    done = await run_command(settings, "enqueue", "orders.confirm", WORKER_TASK_MODULES="")
    assert done.returncode == 1
    assert "no task function is called orders.confirm" in done.stderr
    assert "looked in the application's worker.tasks; WORKER_TASK_MODULES is not set" in done.stderr


async def test_enqueueing_with_wait_says_why_a_task_was_cancelled(
    settings: Settings, drain: Drain
) -> None:
    waiting = asyncio.create_task(run_command(settings, "enqueue", "accept.cancels", "--wait"))
    while not waiting.done():
        await drain()
    done = waiting.result()
    assert done.returncode == 1
    assert "was cancelled: nobody wants it" in done.stderr


async def test_the_version_is_that_of_the_installed_package(settings: Settings) -> None:
    done = await run_command(settings, "--version")
    assert done.stdout == f"uow-worker {metadata.version('uow-worker')}\n", done.stderr


async def test_enqueue_takes_a_key_that_is_held_while_the_task_waits(
    settings: Settings, db: Database
) -> None:
    once = ("enqueue", "accept.effect", "what=x", "--unique-key", "k", "--unique", "waiting")
    first, second = await asyncio.gather(run_command(settings, *once), run_command(settings, *once))
    assert first.stdout == second.stdout != "", first.stderr
    await db.execute_once(text("UPDATE task SET waiting_key = NULL, state = 'running'"), {})
    assert (await run_command(settings, *once)).stdout != first.stdout


async def test_cancel_and_retry_by_id_say_what_became_of_each(
    settings: Settings, client: TaskClient
) -> None:
    once = TaskRef("accept.effect").options(unique_key="k")
    task_id = str((await client.enqueue(once, what="x")).id)
    missing = str(uuid4())

    async def says(command: str, *ids: str) -> tuple[int, list[str]]:
        done = await run_command(settings, command, *ids)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    assert await says("retry", task_id) == (1, [f"{task_id} left alone: it is queued"])
    assert await says("cancel", task_id) == (0, [f"{task_id} cancelled"])
    assert await says("cancel", task_id, missing) == (
        1, [f"{task_id} left alone: it is cancelled", f"{missing} not found"],
    )  # fmt: skip
    assert await says("retry", missing, task_id) == (
        1, [f"{missing} not found", f"{task_id} retried"],
    )  # fmt: skip
    await client.cancel(UUID(task_id))
    holder = await client.enqueue(once, what="x")
    taken = f"task {task_id} cannot run again: task {holder.id} has its unique key 'k'"
    assert await says("retry", task_id) == (1, [f"{task_id} not retried: {taken}"])


async def test_retry_by_filter_says_how_many(
    settings: Settings, db: Database, client: TaskClient
) -> None:
    handles = [
        await client.enqueue(TaskRef("accept.effect").options(user_id=user), what="x")
        for user in (7, 7, 8)
    ]
    settle = "UPDATE task SET settled_at = now(), state = 'failed', ended = 'failed'"
    await db.execute_once(text(settle), {})
    filters = [
        ["--failed", "--name", "accept.effect", "--user-id", "7", "--before", "2100-01-01T00:00Z"],
        ["--cancelled"],
        ["--failed", "--cancelled", "--queue", "arq:queue"],
        ["--name", "accept.effect", "--limit", "1"],
    ]
    counts = []
    for filter_ in filters:
        done = await run_command(settings, "retry", *filter_)
        assert done.returncode == 0, done.stderr
        counts.append(done.stdout)
    assert counts == ["2 retried\n", "0 retried\n", "1 retried\n", "0 retried\n"]
    assert {await handle.status() for handle in handles} == {TaskState.QUEUED}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cancel", "7"], "'7' is not the id of a task"),
        (["retry", "7"], "'7' is not the id of a task"),
        (["retry"], "say which: ids, --failed, --cancelled or another filter"),
        (["retry", "7", "--failed"], "give ids or a filter, not both"),
        (["retry", "--limit", "5"], "give a name, queue, user_id or settled_before; or a state"),
        (["retry", "--failed", "--before", "noon"], "--before=noon is not a moment"),
        (["retry", "--failed", "--before", "2030-01-31"], "has no time zone"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
async def test_cancelling_or_retrying_nonsense_is_one_clear_line_and_exit_code_1(
    arguments: list[str], message: str, settings: Settings
) -> None:
    done = await run_command(settings, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_current_directory_that_is_gone_is_one_clear_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    remove = f"import os, runpy, sys; os.rmdir({str(gone)!r}); sys.argv = ['worker', 'run']; "
    done = subprocess.run(
        [sys.executable, "-c", f"{remove} runpy.run_module('uow', run_name='__main__')"],
        cwd=gone, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "worker: the current directory cannot be used (No such file or directory): change to one "
        "that is there\n"
    )


CONFIGURES_ITS_LOG = """
import logging
from uow import TaskContext, task

logging.basicConfig(format="own: %(name)s %(message)s", level={level!r})

@task("logging.speak")
async def speak(ctx: TaskContext) -> None:
    logging.getLogger("library").info("spoke")
"""


@pytest.mark.parametrize("kind", [(), ("--stock",)], ids=["fast", "stock"])
@pytest.mark.parametrize("level", ["INFO", None], ids=["configured", "nobody"])
async def test_the_root_logger_is_the_applications(
    settings: Settings, client: TaskClient, tmp_path: Path, level: str | None, kind: tuple[str, ...]
) -> None:
    source = CONFIGURES_ITS_LOG.format(level=level)
    if level is None:
        source = source.replace("logging.basicConfig", "dict")
    (tmp_path / "speaking.py").write_text(source)
    await client.db.execute_once(text("INSERT INTO task (name) VALUES ('logging.speak')"), {})
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = await run_fresh_command(
        settings, "run", "--burst", *kind, PYTHONPATH=path, WORKER_TASK_MODULES="speaking"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Starting worker for") == 1
    assert done.stderr.count(":logging.speak ●") == 1
    lines = done.stderr.splitlines()
    if level is None:
        assert "spoke" not in done.stderr
        assert any("INFO    uow.host: ready: queue" in line for line in lines)
    else:
        assert "own: library spoke" in lines
        assert all(line.startswith("own: ") for line in lines), done.stderr
