"""Acts from the shell, as a user types them."""

import getpass
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.test_interventions import put
from tests.processes import run_command
from uow import Database, Settings, TaskClient, TaskState
from uow.db import audit
from uow.db.audit import LATEST
from uow.services.bulk_runner import BulkRunner


@pytest.fixture
async def leader(client: TaskClient) -> AsyncIterator[None]:
    """The duty of a leader that is about bulk acts."""
    runner = BulkRunner(client)
    await runner.start()
    yield
    await runner.stop()


async def state_of(db: Database, task_id: Any) -> str | None:
    found = text("SELECT state FROM task WHERE id = :id")
    return (await db.execute_once(found, {"id": task_id})).scalar_one_or_none()


async def test_tasks_are_acted_on_by_their_ids_and_what_is_left_alone_says_why(
    settings: Settings, db: Database
) -> None:
    waiting, failed = await put(db, TaskState.QUEUED), await put(db)
    done = await run_command(settings, "tasks", "cancel", str(waiting), "--reason", "no need")
    assert (done.returncode, done.stdout) == (0, f"{waiting} cancel: done\n")
    done = await run_command(settings, "tasks", "retry", str(failed), str(failed))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{failed} retry: done", f"{failed} left alone: it is not settled",
    ]  # fmt: skip
    done = await run_command(settings, "tasks", "priority", "--to", "4", str(failed), "--json")
    assert json.loads(done.stdout) == {"id": str(failed), "act": "priority", "done": True}
    done = await run_command(settings, "tasks", "run-now", str(failed))
    assert done.stdout == f"{failed} left alone: it is due already\n"
    done = await run_command(settings, "tasks", "delete", str(waiting))
    assert await state_of(db, waiting) is None
    rows = await audit.read(db, before=LATEST, limit=10)
    assert [row.what for row in rows] == ["delete", "priority", "retry", "cancel"]
    assert {(row.who, row.face, row.address) for row in rows} == {
        (getpass.getuser(), "shell", None)
    }


async def test_the_older_commands_are_written_down_too(settings: Settings, db: Database) -> None:
    waiting, failed, other = await put(db, TaskState.QUEUED), await put(db), await put(db, name="y")
    for arguments in (
        ["cancel", str(waiting)],
        ["retry", str(failed)],
        ["retry", "--failed", "--name", "y"],
    ):
        done = await run_command(settings, *arguments)
        assert done.returncode == 0, done.stderr
    rows = await audit.read(db, before=LATEST, limit=10)
    assert [(row.what, row.task_id) for row in rows] == [
        ("retry", None), ("retry", failed), ("cancel", waiting),
    ]  # fmt: skip
    assert json.loads(rows[0].filter or "") == {"state": "failed", "name": "y"}
    assert await state_of(db, other) == "queued"


async def test_a_filter_is_only_looked_at_without_yes(settings: Settings, db: Database) -> None:
    failed = await put(db, name="billing.charge")
    done = await run_command(settings, "tasks", "retry", "--name", "billing.*")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "retry: 1 task",
        f"  {failed} failed    billing.charge",
        "nothing was done: add --yes to do it",
    ]
    assert await state_of(db, failed) == "failed"
    done = await run_command(settings, "tasks", "retry", "--name", "other")
    assert done.stdout.splitlines() == ["retry: 0 tasks", "nothing was done"]


@pytest.mark.usefixtures("leader")
async def test_with_yes_it_is_done_by_the_leader_and_waited_for(
    settings: Settings, db: Database
) -> None:
    for _ in range(7):
        await put(db, user_id="u")
    await put(db, TaskState.SUCCEEDED, user_id="u")
    done = await run_command(
        settings, "tasks", "retry", "--user", "u", "--state", "failed,succeeded", "--yes"
    )
    assert done.returncode == 0, done.stderr
    assert "done: retry of 7 tasks" in done.stdout
    assert "1 left alone: it has succeeded" in done.stdout
    done = await run_command(settings, "tasks", "cancel", "--user", "u", "--yes", "--json")
    preview, end = [json.loads(line) for line in done.stdout.splitlines()]
    assert (preview["state"], preview["count"], len(preview["samples"])) == ("previewed", 7, 5)
    assert (end["state"], end["done"], end["left_alone"]) == ("done", 7, {})


async def test_what_is_not_said_clearly_is_one_line(settings: Settings) -> None:
    for arguments, said in (
        (["retry"], "say which tasks: ids, or a filter"),
        (["retry", "x", "--user", "u"], "ids and a filter at once"),
        (["retry", "x"], "'x' is not the id of a task"),
        (["retry", "--args", "{}", "--user", "u"], "--args is for one task"),
        (["cancel", "--state", "gone", "--yes"], "state=gone: there is no such state"),
        (["priority", "--to", "11", "--user", "u"], "priority=11 is not between 0 and 9"),
    ):
        done = await run_command(settings, "tasks", *arguments)
        assert done.returncode == 1
        assert said in done.stderr, done.stderr


async def test_an_empty_audit_says_so_and_json_is_as_that_of_lists(
    settings: Settings, db: Database
) -> None:
    assert (await run_command(settings, "audit")).stdout == "there are none\n"
    assert (await run_command(settings, "audit", "--json")).stdout == ""
    await run_command(settings, "retry", str(await put(db)))
    told = (await run_command(settings, "audit", "--json")).stdout
    assert json.loads(told)["at"].endswith("Z")


async def test_the_audit_is_read_in_pages_and_as_json(settings: Settings, db: Database) -> None:
    for _ in range(3):
        await run_command(settings, "retry", str(await put(db)))
    done = await run_command(settings, "audit", "--limit", "2")
    first, second, last = done.stdout.splitlines()
    assert f"{getpass.getuser()} (shell)  retry  " in first
    assert last == f"there may be more: --before {2}"
    done = await run_command(settings, "audit", "--before", "2", "--json", "--what", "retry")
    (entry,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (entry["id"], entry["what"], entry["face"]) == (1, "retry", "shell")
    assert second != first


async def test_what_retention_has_ended_for_is_pruned_by_hand(
    settings: Settings, db: Database
) -> None:
    for _ in range(3):
        await put(db)
    expire = "UPDATE task SET expires_at = now() - interval '1 s' WHERE id <> :id"
    kept = await put(db, TaskState.SUCCEEDED)
    await db.execute_once(text(expire), {"id": kept})
    done = await run_command(settings, "tasks", "prune", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "3 would be removed\n"), done.stderr
    for removed in (3, 0):
        done = await run_command(settings, "tasks", "prune", "--reason", "the disk is full")
        assert (done.returncode, done.stdout) == (0, f"{removed} removed\n"), done.stderr
    assert await state_of(db, kept) == "succeeded"
    (row,) = await audit.read(db, before=LATEST, limit=10)
    assert (row.what, row.reason) == ("prune", "the disk is full")
    assert json.loads(row.counts or "") == {"done": 3, "left_alone": {}}
