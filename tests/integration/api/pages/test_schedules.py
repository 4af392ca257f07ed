"""The page of schedules, and acting on them there; and that these acts are in the audit."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.integration.api.pages.looking import look, seen, send
from tests.integration.test_numbers import say
from tests.ticks import fire
from uow import Database, ScheduleNotFound, Settings, TaskContext, cron, task
from uow.acts.actor import Actor
from uow.acts.schedules import ScheduleActs
from uow.schedules.by_hand import Schedules
from uow.tasks.registry import Registry

DAILY = "/ui/schedules/{}?app=worker&name=daily"


@pytest.fixture
async def daily(db: Database, settings: Settings, registry: Registry) -> None:
    """A schedule with one tick that was fired, and one that was missed."""

    @cron("0 9 * * mon-fri", timezone="Europe/Berlin", name="daily", overlap="skip")
    @task("reports.make", registry=registry)
    async def make(ctx: TaskContext) -> None: ...

    await fire(db, settings, registry)
    await say(db, "INSERT INTO schedule_tick (app, name, tick, fate, until) VALUES ('worker', "
              "'daily', now() - interval '2 hours', 'missed', now())")  # fmt: skip


async def state(db: Database) -> str:
    return (await Schedules(db, "worker").get("daily")).state


async def audited(db: Database) -> list[tuple[Any, ...]]:
    found = await db.execute_once(
        text("SELECT what, who, face, filter, reason, task_id FROM audit ORDER BY id"), {}
    )
    return [tuple(one) for one in found]


@pytest.mark.usefixtures("daily")
async def test_each_is_said_in_words_with_its_ticks(api: httpx.AsyncClient) -> None:
    page = await look(api, "/ui/schedules")
    assert "0 9 * * mon-fri" in page.text
    assert page.to("reports.make") == "/ui/names/reports.make"
    assert page.to("its tasks") == "/ui/tasks?schedule=daily"
    fired, missed = page.with_class("fired")[0], page.with_class("missed")[0]
    assert str(fired["href"]).startswith("/ui/tasks/")
    assert "fired, its task queued" in str(fired["title"])
    assert str(missed["title"]).endswith("UTC: missed")
    assert "WORKER_APP=worker worker cron pause daily" in page.text


@pytest.mark.usefixtures("daily")
async def test_it_is_paused_and_goes_on(api: httpx.AsyncClient, db: Database) -> None:
    response = await send(api, DAILY.format("pause"), "/ui/schedules")
    assert response.headers["location"] == "/ui/schedules?did=pause"
    assert await state(db) == "paused"
    page = await look(api, response.headers["location"])
    acts = [str(given["formaction"]) for _, given in page.tags if given.get("form") == "act"]
    assert acts == [DAILY.format("resume"), DAILY.format("run")]
    assert (await send(api, DAILY.format("resume"), "/ui/schedules")).status_code == 303
    assert await state(db) == "active"
    assert [(what, face, meant) for what, _, face, meant, *_ in await audited(db)] == [
        (act, "page", {"schedule": "daily", "app": "worker"}) for act in ("pause", "resume")
    ]


@pytest.mark.usefixtures("daily")
async def test_it_is_run_by_hand_unless_its_task_is_on_its_way(
    api: httpx.AsyncClient, db: Database
) -> None:
    refused = seen(await send(api, DAILY.format("run"), "/ui/schedules"))
    assert refused.status == 409
    assert "a task of schedule daily is unsettled" in refused.text
    assert await audited(db) == []
    await say(db, "UPDATE task SET state = 'succeeded', settled_at = now()")
    response = await send(api, DAILY.format("run"), "/ui/schedules")
    assert response.status_code == 303
    asked = (await db.execute_once(text("SELECT id FROM task WHERE state = 'queued'"), {})).one()
    assert response.headers["location"] == f"/ui/tasks/{asked.id}?did=run"
    ((what, *_, task_id),) = await audited(db)
    assert (what, task_id) == ("run", asked.id)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ui/schedules/pause?app=worker&name=none", 404),
        ("/ui/schedules/resume?app=other&name=daily", 404),
        ("/ui/schedules/run?app=worker&name=none", 404),
        ("/ui/schedules/explode?app=worker&name=daily", 422),
        ("/ui/schedules/pause?app=worker", 422),
        ("/ui/schedules/pause?app=worker&name=a%00b", 422),
    ],
)
@pytest.mark.usefixtures("daily")
async def test_what_is_not_there_is_told(
    api: httpx.AsyncClient, db: Database, path: str, status: int
) -> None:
    assert seen(await send(api, path, "/ui/schedules")).status == status
    assert await state(db) == "active"
    assert await audited(db) == []


async def test_without_any_it_says_where_they_come_from(api: httpx.AsyncClient) -> None:
    assert "There are no schedules: a worker registers" in (await look(api, "/ui/schedules")).text


@pytest.mark.usefixtures("daily")
async def test_an_act_and_its_row_in_the_audit_are_there_together(db: Database) -> None:
    acts = ScheduleActs(db, "worker", Actor("ann", "shell"), "it is noisy")
    await acts.pause("daily")
    assert await audited(db) == [
        ("pause", "ann", "shell", {"schedule": "daily", "app": "worker"}, "it is noisy", None)
    ]
    with pytest.raises(ScheduleNotFound):
        await acts.pause("none")
    await say(db, "ALTER TABLE audit RENAME TO hidden")
    with pytest.raises(Exception, match="audit"):
        await acts.resume("daily")
    assert await state(db) == "paused"
