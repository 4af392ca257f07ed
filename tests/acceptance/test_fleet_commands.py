"""`worker tasks why`, `worker workers` and `worker top`, as a user types them."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.processes import ROOT, environment_of, run_command
from uow import Database, Settings, TaskClient, TaskRef
from uow.services.presence import Presence

Command = Callable[..., Awaitable[str]]


@pytest.fixture
def command(settings: Settings) -> Command:
    async def run(*arguments: str, fails: bool = False) -> str:
        done = await run_command(settings, *arguments)
        assert done.returncode == int(fails), done.stderr
        return done.stderr if fails else done.stdout

    return run


async def test_why_prints_a_name_and_a_line(client: TaskClient, command: Command) -> None:
    handle = await client.enqueue("mail")
    said = await command("tasks", "why", str(handle.id))
    assert said.startswith("unserved: no live worker serves its queue 'arq:queue'")
    answer = json.loads(await command("tasks", "why", str(handle.id), "--json"))
    assert {*answer} == {"reason", "text"}
    assert answer["reason"] == "unserved"


async def test_why_of_what_is_no_task_says_so(command: Command) -> None:
    missing = str(uuid4())
    assert f"Task id {missing} not found" in await command("tasks", "why", missing, fails=True)
    assert "'7' is not the id of a task" in await command("tasks", "why", "7", fails=True)


async def test_workers_are_listed_with_what_they_run(
    db: Database, settings: Settings, client: TaskClient, command: Command
) -> None:
    assert "there is no worker" in await command("workers")
    handle = await client.enqueue(TaskRef("[red]mail"))
    await db.execute_once(
        text("UPDATE task SET state = 'running', worker = 'me', started_at = now(), attempt = 3"),
        {},
    )
    await Presence(db, "me", settings, running=lambda: [handle.id]).run_once()
    shown = await command("workers")
    assert "[red]mail" in shown
    assert str(handle.id) in shown
    (line,) = (await command("workers", "--json")).splitlines()
    one = json.loads(line)
    assert (one["id"], one["queues"], one["slots"]) == ("me", ["arq:queue"], 5)
    assert [(run["id"], run["attempt"]) for run in one["running"]] == [(str(handle.id), 3)]


async def test_top_prints_queues_and_workers_once(
    db: Database, settings: Settings, client: TaskClient, command: Command
) -> None:
    await client.enqueue(TaskRef("mail").options(queue="letters"))
    await Presence(db, "me", settings, running=list).run_once()
    shown = await command("top", "--once")
    assert "1 worker\n" in shown
    assert [line.split()[:2] for line in shown.splitlines() if "letters" in line] == [
        ["letters", "1"]
    ]


async def test_top_goes_on_until_it_is_interrupted(settings: Settings) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "uow", "top"], cwd=ROOT, env=environment_of(settings),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        seen = 0
        while seen < 2:
            line = await asyncio.to_thread(process.stdout.readline)
            assert line, "it has ended by itself"
            seen += "workers" in line
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, errors) == (0, "")
