"""The list of tasks, acting on some of them, and acts on all that fit its filter."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.integration.api.conftest import one
from tests.integration.api.pages.conftest import HOSTILE, Browser, Page, read
from tests.integration.test_interventions import put
from uow import Database, TaskClient, TaskState
from uow.acts.single import Acts
from uow.db.listing import WINDOW_OF_KEY
from uow.services.bulk_runner import BulkRunner


def rows(page: Page) -> list[str]:
    return [one.removeprefix("task-") for one in page.ids() if one.startswith("task-")]


async def states(db: Database) -> dict[str, str]:
    found = await db.execute_once(text("SELECT id, state FROM task"), {})
    return {str(id_): state for id_, state in (tuple[Any, ...](row) for row in found)}


class TestTheList:
    async def test_nothing_says_what_to_do_next(self, browser: Browser) -> None:
        page = await browser.get("/ui/tasks")
        assert "There is no task yet: worker enqueue NAME asks for one." in page.text
        page = await browser.get("/ui/tasks", name="nothing.*")
        assert page.links["See all of them"] == "/ui/tasks"

    async def test_what_a_task_is_called_is_text(self, browser: Browser, db: Database) -> None:
        await put(db, name=HOSTILE, user_id=HOSTILE, queue=HOSTILE)
        page = await browser.get("/ui/tasks")
        assert page.text.count(HOSTILE) >= 3
        assert len(page.all("script")) == 1
        assert [one["src"] for one in page.all("img") if one["src"] == "x"] == []

    async def test_a_filter_is_kept_in_its_form_and_in_what_leads_on(
        self, browser: Browser, db: Database
    ) -> None:
        for _ in range(3):
            await put(db, name="a.b", user_id="u/1")
        await put(db, name="c")
        given = {"state": ["failed", "cancelled"], "name": "a.*", "user": "u/1", "limit": "20"}
        page = await browser.get("/ui/tasks", **given)
        form = page.forms["/ui/tasks"]
        assert {word: form.fields[word] for word in given} == {
            "state": ["failed", "cancelled"], "name": ["a.*"], "user": ["u/1"], "limit": ["20"],
        }  # fmt: skip
        assert len(rows(page)) == 3
        first = await browser.get("/ui/tasks?limit=2&name=a.*")
        second = await browser.get(first.links["Further"])
        assert (len(rows(first)), len(rows(second))) == (2, 1)
        assert rows(await browser.get(second.links["Before"])) == rows(first)

    @pytest.mark.parametrize(
        ("words", "is_open"),
        [({}, False), ({"name": "a"}, False), ({"error": "E"}, True), ({"arg:x": "1"}, True),
         ({"order": "oldest"}, True)],
    )  # fmt: skip
    async def test_the_rarer_words_are_open_when_one_of_them_is_set(
        self, browser: Browser, words: dict[str, str], is_open: bool
    ) -> None:
        page = await browser.get("/ui/tasks", **words)
        (more,) = [one for one in page.all("details") if one.get("class") == "more"]
        assert ("open" in more) is is_open

    async def test_each_argument_stays_in_the_form(self, browser: Browser) -> None:
        page = await browser.get("/ui/tasks?arg:order=7&arg=b%3D<b>")
        assert page.forms["/ui/tasks"].fields["arg"] == ["order=7", "b=<b>", ""]

    @pytest.mark.parametrize(
        "words",
        [{"stat": "failed"}, {"state": "gone"}, {"since": "<b>"}, {"after": "<i>"},
         {"arg": "password=x"}],
    )  # fmt: skip
    async def test_a_word_that_does_not_fit_is_told_beside_the_form(
        self, browser: Browser, words: dict[str, str]
    ) -> None:
        page = await browser.get("/ui/tasks", **words)
        assert page.status == 422
        assert any(one.get("role") == "alert" for one in page.all("p"))
        assert "/ui/tasks" in page.forms

    async def test_names_and_queues_that_are_known_are_completed(
        self, browser: Browser, db: Database
    ) -> None:
        insert = """INSERT INTO rollup_error (hour, name, error_type, n)
                    VALUES (date_trunc('hour', now()), 'x', :error, 1)"""
        await db.execute_once(text(insert), {"error": HOSTILE})
        page = await browser.get("/ui/tasks")
        known = {str(one["value"]) for one in page.all("option")}
        assert {"math.add", "echo", "arq:echo", "arq:queue", HOSTILE} <= known

    async def test_it_is_a_line_of_a_shell_too(self, browser: Browser) -> None:
        page = await browser.get("/ui/tasks?state=failed&arg:a=1&user=o'neil")
        assert """worker tasks list --state=failed '--user=o'"'"'neil' --arg=a=1""" in page.text

    async def test_how_far_was_looked_is_said(self, browser: Browser, db: Database) -> None:
        fill = """INSERT INTO task (name, state, queue, user_id)
                  SELECT 'common', 'queued', 'arq:queue', 'u' FROM generate_series(1, :n)"""
        await db.execute_once(text(fill), {"n": WINDOW_OF_KEY + 1})
        page = await browser.get("/ui/tasks", name="rare", user="u")
        assert f"{WINDOW_OF_KEY:,} rows were looked at" in page.text
        assert "No task fits among the rows that were looked at" in page.text
        assert "after=" in page.links["Further"]


class TestTheSelected:
    async def act(self, browser: Browser, **fields: Any) -> Page:
        page = await browser.get("/ui/tasks")
        return read(await browser.press(page, "bulk", "To the selected", **fields))

    async def test_each_is_done_and_what_was_left_alone_says_why(
        self, browser: Browser, db: Database
    ) -> None:
        first, second, settled = (
            await put(db, TaskState.QUEUED), await put(db, TaskState.RUNNING), await put(db),
        )  # fmt: skip
        other, gone = await put(db, TaskState.QUEUED), uuid4()
        ids = [str(one) for one in (first, second, settled, gone, first)]
        page = await self.act(browser, task=ids, act="cancel", reason=HOSTILE)
        assert "Done to 2 tasks" in page.text
        assert f"{settled} it is settled already" in page.text
        assert f"{gone} it is not there" in page.text
        assert (await states(db))[str(other)] == "queued"
        reasons = await db.execute_once(text("SELECT face, reason FROM audit"), {})
        assert [tuple(one) for one in reasons] == [("page", HOSTILE)] * 2

    async def test_none_too_many_or_no_priority_is_a_problem(
        self, browser: Browser, db: Database
    ) -> None:
        id_ = str(await put(db))
        for fields in (
            {"act": "cancel"},
            {"act": "cancel", "task": [str(uuid4()) for _ in range(201)]},
            {"act": "priority", "task": id_},
            {"act": "priority", "task": id_, "priority": "99"},
            {"act": "explode", "task": id_},
            {"act": "cancel", "task": "<script>"},
        ):
            page = await self.act(browser, **fields)
            assert page.status == 422
            assert len(page.all("script")) == 1
        assert await one(db, "SELECT count(*) FROM audit") == 0

    async def test_deleting_asks_first(self, browser: Browser, db: Database) -> None:
        ids = [str(await put(db)) for _ in range(2)]
        asking = await self.act(browser, task=ids, act="delete", reason="large")
        assert "Delete 2 tasks?" in asking.text
        assert len(await states(db)) == 2
        page = read(await browser.press(asking, "sure", "Delete"))
        assert "Done to 2 tasks" in page.text
        assert await states(db) == {}

    async def test_a_server_that_goes_away_leaves_what_was_done_and_says_what_was_not(
        self, browser: Browser, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [str(await put(db, TaskState.QUEUED)) for _ in range(3)]
        act, calls = Acts.named, []

        async def fail_at_the_second(*given: Any, **more: Any) -> Any:
            calls.append(given)
            if len(calls) == 2:
                raise ConnectionResetError
            return await act(*given, **more)

        monkeypatch.setattr(Acts, "named", fail_at_the_second)
        page = await self.act(browser, task=ids, act="cancel")
        assert "Done to 1 task." in page.text
        assert "2 were not reached" in page.text
        assert sorted((await states(db)).values()) == ["cancelled", "queued", "queued"]


class TestAllThatFit:
    async def preview(self, browser: Browser, path: str, **fields: Any) -> Page:
        page = await browser.get(path)
        return await browser.led_to(
            await browser.press(page, "bulk", "To all that fit the filter…", **fields)
        )

    async def test_it_is_looked_at_confirmed_and_followed(
        self, browser: Browser, db: Database, client: TaskClient
    ) -> None:
        for _ in range(6):
            await put(db, user_id=HOSTILE)
        await put(db, user_id="other")
        page = await browser.get("/ui/tasks", user=HOSTILE)
        page = await browser.led_to(
            await browser.press(
                page, "bulk", "To all that fit the filter…", act="retry", reason=HOSTILE
            )
        )
        assert "6 tasks" in page.text
        assert f"user {HOSTILE}" in page.text
        assert await one(db, "SELECT count(*) FROM audit") == 0
        running = await browser.led_to(await browser.press(page, "confirm", "Confirm: retry"))
        again = await browser.led_to(await browser.press(page, "confirm", "Confirm: retry"))
        assert "0 of 6 done" in running.text
        assert "0 of 6 done" in again.text
        await BulkRunner(client).run_once()
        page = await browser.get(str(running.response.url))
        assert "It is done" in page.text
        assert "6 of 6 done" in page.text
        assert page.forms.keys() & {"confirm", "stop"} == set()
        found = [*await db.execute_once(text("SELECT who, face, what, reason FROM audit"), {})]
        assert [tuple(one) for one in found] == [("this machine", "page", "retry", HOSTILE)]
        listed = await browser.get("/ui/bulk")
        assert listed.links["retry"] == str(running.response.url.path)

    async def test_what_was_left_alone_is_told_with_its_reason(
        self, browser: Browser, db: Database, client: TaskClient
    ) -> None:
        await put(db, unique_key="k", user_id="u")
        await put(db, TaskState.QUEUED, unique_key="k")
        page = await self.preview(browser, "/ui/tasks?user=u", act="retry")
        page = await browser.led_to(await browser.press(page, "confirm", "Confirm: retry"))
        await BulkRunner(client).run_once()
        page = await browser.get(str(page.response.url))
        assert "another task has its unique key 1" in page.text

    async def test_of_none_there_is_nothing_to_confirm(self, browser: Browser) -> None:
        page = await browser.get("/ui/tasks?name=none")
        page = await browser.led_to(
            await browser.press(page, "bulk", "To all that fit the filter…", act="retry")
        )
        assert "No task fits: there is nothing to confirm." in page.text
        assert "confirm" not in page.forms

    @pytest.mark.parametrize(
        ("states", "act"),
        [("state=failed", "retry"), ("state=failed&state=cancelled", "retry"),
         ("state=failed&state=queued", "cancel"), ("state=queued", "cancel"), ("user=u", "cancel")],
    )  # fmt: skip
    async def test_the_act_that_is_chosen_at_first_is_one_that_can_be_done(
        self, browser: Browser, states: str, act: str
    ) -> None:
        page = await browser.get(f"/ui/tasks?{states}")
        assert page.forms["bulk"].fields["act"] == [act]

    async def test_it_is_stopped(self, browser: Browser, db: Database) -> None:
        await put(db, TaskState.QUEUED, user_id="u")
        page = await self.preview(browser, "/ui/tasks?user=u", act="priority", priority=4)
        confirmed = await browser.press(page, "confirm", "Confirm: change priority")
        page = await browser.led_to(confirmed)
        page = await browser.led_to(await browser.press(page, "stop", "Stop", reason="no"))
        assert "Stopped by this machine" in page.text
        assert await one(db, "SELECT count(*) FROM audit WHERE what = 'stop'") == 1

    async def test_a_preview_that_is_too_old_says_so_and_can_be_made_again(
        self, browser: Browser, db: Database
    ) -> None:
        await put(db, user_id="u")
        page = await self.preview(browser, "/ui/tasks?user=u&state=failed", act="retry", reason="r")
        before = datetime.now(UTC) - timedelta(minutes=16)
        await db.execute_once(text("UPDATE bulk_act SET previewed_at = :at"), {"at": before})
        refused = read(await browser.press(page, "confirm", "Confirm: retry"))
        assert (refused.status, "older than 15 minutes" in refused.text) == (409, True)
        old = await browser.get(str(page.response.url.path))
        assert "cannot be confirmed any more" in old.text
        assert "confirm" not in old.forms
        again = await browser.led_to(await browser.press(old, "again", "Look again"))
        assert again.response.url != page.response.url
        assert again.forms["confirm"].fields["key"] != page.forms["confirm"].fields["key"]

    async def test_nothing_means_everything_and_arguments_are_not_looked_into(
        self, browser: Browser
    ) -> None:
        for path in ("/ui/tasks", "/ui/tasks?arg=a%3D1", "/ui/tasks?state=no"):
            page = await browser.get(path)
            assert [*page.forms["bulk"].buttons] == ["To the selected"]
        page = await browser.get("/ui/tasks?user=u")
        button = "To all that fit the filter…"
        assert read(await browser.press(page, "bulk", button, act="cancel", word="")).status == 409

    async def test_one_that_is_not_there_is_a_page(self, browser: Browser) -> None:
        for id_ in (UUID(int=1), "<b>"):
            page = await browser.get(f"/ui/bulk/{id_}")
            assert (page.status, f"Bulk act {id_} not found" in page.text) == (404, True)
        assert "There is none." in (await browser.get("/ui/bulk")).text
