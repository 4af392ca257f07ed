"""`worker cron`, as a user types it."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from tests.processes import run_command
from uow import Database, Settings, TaskClient, TaskContext, TaskState, cron, task
from uow.errors import ScheduleBusy, ScheduleNotFound
from uow.schedules.cron import schedules_of
from uow.schedules.registrar import Registrar
from uow.schedules.scheduler import Scheduler
from uow.tasks.registry import Registry

Command = Callable[..., Awaitable[str]]


@pytest.fixture
async def registrar(db: Database, settings: Settings, registry: Registry) -> Registrar:
    @cron("0 9 * * mon-fri", timezone="Europe/Berlin", arguments={"kind": "short"}, overlap="skip")
    @cron("@hourly", name="hourly")
    @task("reports.send", registry=registry)
    async def send(ctx: TaskContext, kind: str = "long") -> None: ...

    made = Registrar(db, schedules_of(registry), settings)
    await made.run_once()
    return made


@pytest.fixture
def command(settings: Settings) -> Command:
    async def run(*arguments: str, fails: bool = False) -> str:
        done = await run_command(settings, "cron", *arguments)
        assert done.returncode == int(fails), done.stderr
        return done.stderr if fails else done.stdout

    return run


SHORT = "reports.send(kind=short)"


async def test_list_has_the_next_five_times_in_the_zone_and_in_utc(
    registrar: Registrar, command: Command
) -> None:
    shown = await command("list")
    assert "hourly" in shown
    assert len(re.findall(r"09:00:00 CES?T ", shown)) == 5  # and those of the hourly one
    listed: list[dict[str, Any]] = json.loads(await command("list", "--json"))
    assert [one["name"] for one in listed] == ["hourly", SHORT]
    assert all(len(one["next"]) == 5 for one in listed)
    assert "hourly" in json.dumps(json.loads(await command("list", "--all", "--json")))


async def test_without_schedules_list_says_where_they_come_from(command: Command) -> None:
    assert "a worker registers those of its task modules" in await command("list")


async def test_a_paused_schedule_fires_nothing_and_goes_on_without_the_past(
    db: Database, registrar: Registrar, command: Command
) -> None:
    assert "is paused" in await command("pause", SHORT)
    past = text("UPDATE schedule SET next_tick = now() - interval '1 day' WHERE name = :name")
    await db.execute_once(past, {"name": SHORT})
    scheduler = Scheduler(db, wake_relay=lambda: None)
    assert await scheduler.run_once() == 0
    assert "paused" in await command("show", SHORT)
    assert "goes on: next at" in await command("resume", SHORT)
    assert await scheduler.run_once() == 0
    (found,) = [one for one in json.loads(await command("list", "--json")) if one["name"] == SHORT]
    assert found["state"] == "active"
    assert datetime.fromisoformat(found["next"][0]) > datetime.now(UTC)


async def test_run_prints_the_id_of_a_task_with_the_schedules_arguments(
    client: TaskClient, registrar: Registrar, command: Command
) -> None:
    await command("pause", SHORT)  # by hand it runs all the same
    before = await client.schedules.get(SHORT)
    task_id = (await command("run", SHORT)).strip()
    after = await client.schedules.get(SHORT)
    assert str(after.last_task_id) == task_id
    assert (after.next_tick, after.last_tick) == (before.next_tick, before.last_tick)
    assert after.last_task_id is not None
    view = await client.get(after.last_task_id)
    assert view is not None
    assert (view.name, view.args, view.state) == (
        "reports.send", {"kind": "short"}, TaskState.QUEUED,
    )  # fmt: skip
    assert "asked" in await command("show", SHORT)
    assert "one at a time" in await command("run", SHORT, fails=True)
    with pytest.raises(ScheduleBusy):
        await client.schedules.run(SHORT)
    await client.schedules.run("hourly")
    await client.schedules.run("hourly")  # that one does not mind


async def test_a_name_that_is_not_there_gives_the_nearest(
    client: TaskClient, registrar: Registrar, command: Command
) -> None:
    for name in ("show", "pause", "resume", "run"):
        assert "did you mean hourly?" in await command(name, "hourli", fails=True)
    with pytest.raises(ScheduleNotFound):
        await client.schedules.pause("nothing like it")


async def test_removed_schedules_are_shown_as_removed(
    db: Database, registrar: Registrar, command: Command
) -> None:
    await db.execute_once(text("UPDATE schedule SET seen_at = now() - interval '301 s'"), {})
    assert {one["state"] for one in json.loads(await command("list", "--json"))} == {"removed"}


async def test_what_was_missed_is_shown(
    db: Database, client: TaskClient, registrar: Registrar, command: Command
) -> None:
    past = text(
        "UPDATE schedule SET next_tick = date_trunc('hour', now()) - interval '5 hours' "
        "WHERE name = 'hourly'"
    )
    await db.execute_once(past, {})
    await Scheduler(db, wake_relay=lambda: None).run_once()
    missed = (await client.schedules.get("hourly")).missed
    assert missed is not None
    shown = await command("show", "hourly")
    assert f"last missed:   {missed[0]:%Y-%m-%d %H}:00:00Z to" in shown
    assert " missed" in shown.partition("latest ticks")[2]


# -- preview ---------------------------------------------------------------------------------------


async def test_preview_says_it_in_words_and_shows_the_next_clock_change(command: Command) -> None:
    shown = await command("preview", "30 2 * * *", "--timezone", "Europe/Berlin")
    assert shown.startswith("At 02:30 every day (Europe/Berlin)")
    coming, _, around = shown.partition("Around the next clock change in Europe/Berlin")
    assert coming.count("02:30:00") == 5
    assert len([line for line in around.splitlines() if line.startswith("  ")]) == 6
    assert "are not changed within a year" in await command("preview", "@daily")


async def test_preview_prints_the_ticks_of_a_span_as_json(command: Command) -> None:
    span = ("--from", "2026-03-28T01:30Z", "--until", "2026-03-31T00:30Z", "--json")
    shown = await command("preview", "30 2 * * *", "--timezone", "Europe/Berlin", *span)
    expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    assert json.loads(shown) == expected
    lines = await command("preview", "30 2 * * *", "--timezone", "Europe/Berlin", *span[:4])
    assert len(lines.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["61 * * * *"], "'61 * * * *' is no cron expression: bad minute"),
        (["@daily", "--timezone", "Europe/Berln"], "there is no time zone 'Europe/Berln'"),
        (["@daily", "--from", "2026-01-01"], "a span has --from and --until"),
        (["@daily", "--from", "soon", "--until", "2026-01-01"], "--from=soon is no moment"),
    ],
)
async def test_preview_of_what_is_wrong_is_one_line(
    command: Command, arguments: list[str], reason: str
) -> None:
    told = await command("preview", *arguments, fails=True)
    assert reason in told
    assert len(told.splitlines()) == 1
