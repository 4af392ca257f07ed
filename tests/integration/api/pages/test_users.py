"""Users: whose the newest tasks are, and what can be done to one of them."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.api.conftest import one
from tests.integration.api.pages.conftest import HOSTILE, Browser, read
from tests.integration.test_interventions import put
from uow import Database, TaskClient, TaskState
from uow.clock import utcnow
from uow.ids import new_id
from uow.questions.users import newest_users_of
from uow.services.bulk_runner import BulkRunner

ODD = ["zoë/7", HOSTILE, "a b", "x/pause", "50%", "?q#", "%2F"]


async def put_now(db: Database, state: TaskState = TaskState.FAILED, /, **columns: Any) -> None:
    await put(db, state, **{"id": new_id(), **columns})


class TestTheList:
    async def test_it_says_which_tasks_were_looked_at(self, browser: Browser, db: Database) -> None:
        page = await browser.get("/ui/users")
        assert "None of the newest 0 tasks is a user's" in page.text
        for _ in range(2):
            await put_now(db, user_id="settled")
        await put_now(db, TaskState.QUEUED, user_id=HOSTILE)
        await put_now(db)
        page = await browser.get("/ui/users")
        assert "All 4 tasks that there are were looked at." in page.text
        assert page.text.index(HOSTILE) < page.text.index("settled 2 50 %")
        assert "1 of these tasks are nobody's." in page.text
        assert len(page.all("script")) == 1

    async def test_of_many_it_looks_at_the_newest_alone(self, db: Database) -> None:
        for user in ("old", "new", "new"):
            await put_now(db, user_id=user)
        found = await newest_users_of(db, limit=2)
        assert [(each.user_id, each.tasks) for each in found.users] == [("new", 2)]
        assert (found.looked_at, found.are_all, found.share("old")) == (2, False, 0)

    @pytest.mark.parametrize("user", ODD)
    async def test_a_form_leads_to_any_user(
        self, browser: Browser, db: Database, user: str
    ) -> None:
        await put_now(db, user_id=user)
        response = await browser.http.get("/ui/users", params={"user": user})
        page = await browser.led_to(response)
        assert f"User {user}" in page.text
        assert "From all 1 tasks of this user." in page.text
        listed = await browser.get("/ui/users")
        assert (await browser.get(listed.links[user])).text == page.text


class TestOne:
    async def test_their_numbers_lead_into_lists(self, browser: Browser, db: Database) -> None:
        await put_now(db, user_id="u", name="a.b")
        await put_now(db, TaskState.QUEUED, user_id="u", name="a.b")
        await put_now(db, user_id="other")
        page = await browser.get("/ui/users/u")
        assert "Share 67 % 2 of the newest 3 tasks of all" in page.text
        assert page.links["failed"] == "/ui/tasks?user=u&state=failed"
        assert page.links["1 of a.b, not settled"] == (
            "/ui/tasks?user=u&name=a.b&state=scheduled%2Cqueued%2Crunning%2Cretrying"
        )
        assert len([each for each in page.ids() if each.startswith("task-")]) == 2

    async def test_one_without_tasks_is_a_page_too(self, browser: Browser) -> None:
        page = await browser.get("/ui/users/nobody")
        assert "This user has no task." in page.text
        assert (await browser.get("/ui/users/%00")).status == 404

    @pytest.mark.parametrize("user", ODD)
    async def test_they_are_paused_and_go_on(
        self, browser: Browser, db: Database, user: str
    ) -> None:
        await put_now(db, TaskState.QUEUED, user_id=user)
        page = await browser.led_to(await browser.http.get("/ui/users", params={"user": user}))
        response = await browser.press(page, "on-user", "Pause", reason=HOSTILE, until="2h")
        paused = await browser.led_to(response)
        assert "Paused by this machine" in paused.text
        assert HOSTILE in paused.text
        assert await one(db, "SELECT target FROM pause") == user
        until = await one(db, "SELECT until FROM pause")
        assert timedelta(minutes=110) < until - utcnow() < timedelta(minutes=121)
        page = await browser.led_to(await browser.press(paused, "on-user", "Resume"))
        assert "Paused by" not in page.text
        again = read(await browser.press(paused, "on-user", "Resume"))
        assert (again.status, "The user is not paused." in again.text) == (409, True)
        found = [*await db.execute_once(text("SELECT what, face FROM audit ORDER BY id"), {})]
        assert [tuple(row) for row in found] == [("pause", "page"), ("resume", "page")]

    @pytest.mark.parametrize("until", ["<b>", "2001-01-01", "9999999999d"])
    async def test_an_end_that_is_none_is_told_and_what_was_typed_is_kept(
        self, browser: Browser, until: str
    ) -> None:
        page = await browser.get("/ui/users/u")
        page = read(await browser.press(page, "on-user", "Pause", reason="why", until=until))
        assert page.status == 422
        assert page.forms["on-user"].fields["until"] == [until]
        assert page.forms["on-user"].fields["reason"] == ["why"]

    async def test_all_that_is_not_settled_is_cancelled_after_a_look(
        self, browser: Browser, db: Database, client: TaskClient
    ) -> None:
        for user in (HOSTILE, HOSTILE, "other"):
            await put_now(db, TaskState.QUEUED, user_id=user)
        page = await browser.led_to(await browser.http.get("/ui/users", params={"user": HOSTILE}))
        button = "Cancel all that are not settled…"
        page = await browser.led_to(await browser.press(page, "on-user", button))
        assert "2 tasks" in page.text
        await browser.press(page, "confirm", "Confirm: cancel")
        await BulkRunner(client).run_once()
        assert await one(db, "SELECT count(*) FROM task WHERE state = 'cancelled'") == 2
