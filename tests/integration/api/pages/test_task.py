"""The page of one task: what it shows, and what can be done there."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from tests.conftest import Drain
from tests.integration.api.conftest import one
from tests.integration.api.pages.conftest import HOSTILE, Browser, read
from tests.integration.test_interventions import put
from tests.servers import serving
from uow import Database, Private, Settings, TaskClient, TaskContext, TaskState, task
from uow.api.app import create_app
from uow.app import AppParts
from uow.tasks.registry import Registry


@pytest.fixture
def registry(registry: Registry) -> Registry:
    @task("cards.charge", max_tries=1, registry=registry)
    async def charge(ctx: TaskContext, order_id: int, card: Annotated[str, Private]) -> None:
        raise ValueError(HOSTILE)

    return registry


async def audit(db: Database) -> list[tuple[Any, ...]]:
    found = await db.execute_once(text("SELECT what, face, who, reason FROM audit ORDER BY id"), {})
    return [tuple(row) for row in found]


async def fail_one(client: TaskClient, registry: Registry, drain: Drain) -> UUID:
    charge = registry.get("cards.charge")
    assert charge is not None
    handle = await client.enqueue(charge.options(user_id=HOSTILE), order_id=7, card="4242")
    await drain()
    return handle.id


class TestWhatIsShown:
    async def test_a_waiting_task_says_first_why_it_waits(
        self, browser: Browser, db: Database
    ) -> None:
        page = await browser.get(f"/ui/tasks/{await put(db, TaskState.QUEUED)}")
        assert "Why it waits: no live worker serves its queue 'arq:queue'" in page.text
        assert page.text.index("Why it waits") < page.text.index("Facts")
        assert {"standing", "acts", "facts", "attempts", "timeline", "noted"} <= {*page.ids()}

    async def test_each_attempt_has_its_error_and_nothing_that_it_says_is_markup(
        self, browser: Browser, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        id_ = await fail_one(client, registry, drain)
        page = await browser.get(f"/ui/tasks/{id_}")
        assert f"ValueError: {HOSTILE}" in page.text
        assert "Traceback (most recent call last)" in page.text
        assert "failed, attempt 1: ValueError" in page.text
        assert page.all("img") == [one for one in page.all("img") if one["src"] != "x"]
        assert len(page.all("script")) == 1
        assert "Why it waits:" not in page.text
        user = next(one for one in page.addresses if "/ui/users/" in one)
        assert "/" not in user.partition("/ui/users/")[2]

    async def test_what_is_private_is_revealed_to_an_admin_and_that_is_written_down(
        self, browser: Browser, client: TaskClient, registry: Registry, drain: Drain, db: Database
    ) -> None:
        id_ = await fail_one(client, registry, drain)
        page = await browser.get(f"/ui/tasks/{id_}")
        assert '"order_id": 7' in page.text
        assert "[redacted]" in page.text
        assert "4242" not in page.response.text
        shown = read(await browser.press(page, "on-task", "Reveal"))
        assert '"card": "4242"' in shown.text
        assert await audit(db) == [("reveal", "page", "this machine", None)]

    async def test_who_has_acted_is_there(self, browser: Browser, db: Database) -> None:
        id_ = await put(db)
        page = await browser.get(f"/ui/tasks/{id_}")
        assert "Nobody has acted on it" in page.text
        after = await browser.led_to(
            await browser.press(page, "on-task", "Retry", reason="<b>again</b>")
        )
        assert "It runs again." in after.text
        assert "<b>again</b>" in after.text
        assert after.links["In the audit"] == f"/ui/audit?task={id_}"

    @pytest.mark.parametrize("given", ["01944a2e-3c5b-7d10-8000-2f1c0a9b7e55", "nothing", "00"])
    async def test_one_that_is_not_there_is_a_page_that_says_so(
        self, browser: Browser, given: str
    ) -> None:
        page = await browser.get(f"/ui/tasks/{given}")
        assert page.status == 404
        assert f"There is no task {given}" in page.text


class TestActs:
    @pytest.mark.parametrize(
        ("button", "before", "after"),
        [
            ("Cancel", TaskState.QUEUED, "cancelled"),
            ("Cancel", TaskState.RUNNING, "cancelled"),
            ("Retry", TaskState.FAILED, "queued"),
            ("Retry", TaskState.CANCELLED, "queued"),
        ],
    )
    async def test_a_button_does_it_and_leads_back(
        self, browser: Browser, db: Database, button: str, before: TaskState, after: str
    ) -> None:
        id_ = await put(db, before)
        page = await browser.get(f"/ui/tasks/{id_}")
        response = await browser.press(page, "on-task", button, reason="asked to")
        act = button.lower()
        assert response.headers["location"] == f"/ui/tasks/{id_}?did={act}"
        assert await one(db, "SELECT state FROM task") == after
        assert await audit(db) == [(act, "page", "this machine", "asked to")]

    async def test_run_now_and_another_priority(self, browser: Browser, db: Database) -> None:
        id_ = await put(db, TaskState.SCHEDULED)
        later = datetime.now(UTC) + timedelta(hours=1)
        await db.execute_once(text("UPDATE task SET run_at = :at"), {"at": later})
        page = await browser.get(f"/ui/tasks/{id_}")
        assert "it is not due until" in page.text
        page = await browser.led_to(await browser.press(page, "on-task", "Run now"))
        assert await one(db, "SELECT run_at <= now() FROM task")
        assert "Run now" not in page.forms["on-task"].buttons
        asking = await browser.get(page.links["Change priority"])
        form = f"/ui/tasks/{id_}/priority"
        refused = read(await browser.press(asking, form, "Change priority", priority=10))
        assert (refused.status, "priority=10 is not between 0 and 9" in refused.text) == (422, True)
        response = await browser.press(asking, form, "Change priority", priority=7)
        assert response.status_code == 303
        assert await one(db, "SELECT priority FROM task") == 7

    async def test_what_cannot_be_undone_asks_first(self, browser: Browser, db: Database) -> None:
        id_ = await put(db)
        page = await browser.get(f"/ui/tasks/{id_}")
        asking = await browser.get(page.links["Delete"])
        assert "This cannot be undone." in asking.text
        assert await one(db, "SELECT count(*) FROM task") == 1
        page = await browser.led_to(
            await browser.press(asking, f"/ui/tasks/{id_}/delete", "Delete", reason="r")
        )
        assert "The task is deleted." in page.text
        assert await one(db, "SELECT count(*) FROM task") == 0

    async def test_what_somebody_else_has_decided_is_told(
        self, browser: Browser, db: Database
    ) -> None:
        id_ = await put(db, TaskState.QUEUED)
        page = await browser.get(f"/ui/tasks/{id_}")
        await browser.press(page, "on-task", "Cancel")
        refused = read(await browser.press(page, "on-task", "Cancel", reason="kept"))
        assert refused.status == 409
        assert "Left alone: it is settled already." in refused.text
        assert refused.forms[f"/ui/tasks/{id_}/cancel"].fields["reason"] == ["kept"]
        assert len(await audit(db)) == 1

    async def test_each_act_is_there_as_lines_of_a_shell(
        self, browser: Browser, db: Database
    ) -> None:
        id_ = await put(db, TaskState.QUEUED)
        page = await browser.get(f"/ui/tasks/{id_}")
        base = str(browser.http.base_url).rstrip("/")
        assert f"worker tasks cancel {id_}" in page.text
        assert (
            'curl -X POST -H "Authorization: Bearer $WORKER_TOKEN" '
            f"{base}/api/tasks/{id_}/cancel" in page.text
        )


class TestEditedArguments:
    async def edit(self, browser: Browser, id_: UUID, **fields: Any) -> Any:
        page = await browser.get(f"/ui/tasks/{id_}/retry", edit=True)
        return await browser.press(page, f"/ui/tasks/{id_}/retry", "Retry", **fields)

    async def test_a_task_runs_again_with_them_and_the_old_ones_are_kept(
        self, browser: Browser, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        id_ = await fail_one(client, registry, drain)
        args = {"order_id": 8, "card": "1111"}
        response = await self.edit(browser, id_, args=json.dumps(args))
        page = await browser.led_to(response)
        assert await one(db, "SELECT CAST(args AS text) FROM task") == (
            '{"order_id":8,"card":"1111"}'
        )
        assert "Arguments before" in page.text
        assert "1111" not in page.response.text

    @pytest.mark.parametrize(
        ("args", "told"),
        [
            ('{"order_id": "many", "card": "x"}', "order_id: "),
            ('{"order_id": 1', "that is no JSON"),
            ("[1]", "that is no JSON object"),
            ("", "that is no JSON"),
            ("[" * 20_000, "that is no JSON"),
            ('{"order_id": 1, "card": "[redacted]"}', "stands in the place of a value"),
            ('{"order_id": 1, "card": "x", "<b>": 1}', "<b>"),
        ],
    )
    async def test_those_that_do_not_fit_are_told_beside_the_text(
        self,
        browser: Browser,
        db: Database,
        client: TaskClient,
        registry: Registry,
        drain: Drain,
        args: str,
        told: str,
    ) -> None:
        id_ = await fail_one(client, registry, drain)
        page = read(await self.edit(browser, id_, args=args))
        assert page.status == 422
        assert told in page.text
        assert page.forms[f"/ui/tasks/{id_}/retry"].fields["args"] == [args]
        assert await one(db, "SELECT state FROM task") == "failed"


async def test_behind_a_prefix_each_address_has_it(
    settings: Settings, registry: Registry, db: Database
) -> None:
    app: FastAPI = create_app(settings, registry, AppParts())
    app.root_path = "/behind"
    id_ = await put(db, TaskState.QUEUED)
    async with serving(app) as http:
        page = await Browser(http).get(f"/behind/ui/tasks/{id_}")
        assert [one for one in page.addresses if not one.startswith(("/behind/", "#"))] == []
        assert page.forms["on-task"].buttons["Cancel"].startswith("/behind/")
        response = await Browser(http).press(page, "on-task", "Cancel")
        assert response.headers["location"].startswith("/behind/ui/tasks/")
