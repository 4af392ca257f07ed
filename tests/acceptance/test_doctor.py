"""`worker doctor`, as somebody meets it in a shell."""

import asyncio
import json
from collections.abc import Callable

from sqlalchemy import text

from tests.processes import WorkerProcess, run_command
from uow import Database, Settings
from uow.questions.doctor.queue import UNSERVED


async def test_beside_a_worker_that_is_well_nothing_is_wrong(
    settings: Settings, start_worker: Callable[..., WorkerProcess]
) -> None:
    await asyncio.to_thread(start_worker().wait_for_log, "leads the fleet")
    done = await run_command(settings, "doctor", "--json", "--app", "worker.main:app")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    # What a worker of this version does not say of itself is unknown.
    assert {one["id"] for one in found} <= {"fleet.untold", "redis.unsaved"}, done.stdout
    assert done.returncode == (1 if found else 0)
    assert "Traceback" not in done.stderr


async def test_what_is_broken_is_told_with_what_mends_it_and_is_exit_code_2(
    settings: Settings, db: Database
) -> None:
    insert = "INSERT INTO task (name, queue, run_at, dispatch_at) VALUES ('a', 'mail', :at, :at)"
    await db.execute_once(text(insert.replace(":at", "now() - interval '1 hour'")), {})
    done = await run_command(settings, "doctor")
    assert done.returncode == 2, done.stderr
    first, proof, mend, *_, last = done.stdout.splitlines()
    assert first == f"broken queue.unserved: {UNSERVED.means}"
    assert proof.startswith("    no live worker serves queue 'mail'; due tasks: 1, the first for ")
    assert mend == "    -> worker run --queue mail"
    assert last.endswith(" checks")

    told = await run_command(settings, "doctor", "--json")
    assert told.returncode == 2
    for line in told.stdout.splitlines():
        assert {*json.loads(line)} == {"id", "severity", "means", "proof", "mend"}


async def test_without_servers_and_modules_it_says_so_and_shows_no_password(
    settings: Settings,
) -> None:
    nowhere = {
        "WORKER_DATABASE_URL": "postgresql+asyncpg://u:pa55word@127.0.0.1:1/none",
        "WORKER_REDIS_URL": "redis://u:pa55word@127.0.0.1:1/0",
        "WORKER_TASK_MODULES": "not.there",
    }
    done = await run_command(settings, "doctor", "--json", **nowhere)
    found = {json.loads(line)["id"] for line in done.stdout.splitlines()}
    assert found == {"postgres.away", "redis.away", "doctor.unlooked", "install.no-code"}
    assert done.returncode == 2
    assert "pa55word" not in done.stdout + done.stderr


async def test_without_a_database_in_the_settings_it_is_one_line(settings: Settings) -> None:
    done = await run_command(settings, "doctor", WORKER_DATABASE_URL="")
    assert done.returncode == 1
    assert done.stderr.startswith("worker: WORKER_DATABASE_URL is not set")
