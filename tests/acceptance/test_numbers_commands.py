"""`worker queues|names|users list`, `users show` and `failures`, as a user types them."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from tests.ended import alike
from tests.processes import run_command
from uow import Database, Settings
from uow.db import rollup
from uow.services.count_merger import CountMerger
from uow.services.counts import Counts, Slice, to_text

ANNS = "INSERT INTO task (name, user_id) VALUES ('mails.send', 'ann')"


@pytest.fixture(autouse=True)
async def _numbers(db: Database) -> None:
    """Two tasks of ann's wait, and some have ended."""
    for _ in range(2):
        await db.execute_once(text(ANNS), {})
    counts = Counts()
    counts.note(alike("mails.send", "arq:queue", "completed", 0.02, 3.0, n=1234))
    counts.note(alike("mails.send", "arq:queue", "failed", 0.02, 3.0, "Timeout[red]Error"))
    await rollup.write_counts(db, "p", 1, to_text([Slice(120.0, counts)]), limit=10)
    await CountMerger(db).run_once()


async def lines(settings: Settings, *arguments: str) -> list[str]:
    done = await run_command(settings, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def objects(settings: Settings, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in await lines(settings, *arguments, "--json")]


async def test_queues_and_names(settings: Settings) -> None:
    for command, first in (("queues", "arq:queue"), ("names", "mails.send")):
        header, row, note = await lines(settings, command, "list")
        assert header.startswith(command[:-1])
        assert row.split()[:2] == [first, "2"]
        assert "1,235" in row
        assert "1 failed" in row
        assert "may be more" in note
        (found,) = await objects(settings, command, "list")
        assert found["waiting"] == {"value": 2, "source": "exact"}
        assert found["rates"]["hour"]["ended"] == {"completed": 1234, "failed": 1}
    assert await lines(settings, "names", "list", "--queue", "none") == [
        "nothing waits, runs, or has ended within a day"
    ]


async def test_users(settings: Settings) -> None:
    header, row, note = await lines(settings, "users", "list")
    assert header.split() == ["user", "tasks", "not", "settled", "running", "failed"]
    assert row.split() == ["ann", "2", "2", "0", "0"]
    assert note == "of 2 tasks, all there are; 0 are nobody's"
    (found,) = await objects(settings, "users", "list")
    assert (found["user_id"], found["tasks"]) == ("ann", 2)


async def test_a_user(settings: Settings) -> None:
    said = await lines(settings, "users", "show", "ann")
    assert "waiting:       2" in said
    (found,) = await objects(settings, "users", "show", "ann")
    assert found["names"] == {"mails.send": {"value": 2, "source": "exact"}}


async def test_failures(settings: Settings) -> None:
    for by, key in (("error", "Timeout[red]Error"), ("name", "mails.send")):
        _, row = await lines(settings, "failures", "--since", "12h", "--by", by)
        assert row.split()[:2] == [key, "1"]
    (found,) = await objects(settings, "failures", "--by", "hour")
    assert found["failed"] == {"value": 1, "source": "rollup"}
    assert found["key"].endswith(":00:00Z")
    done = await run_command(settings, "failures", "--since", "yesterday")
    assert (done.returncode, done.stderr) == (
        1, "worker: since=yesterday is no time ago: write it as 90m, 12h or 3d\n",
    )  # fmt: skip
