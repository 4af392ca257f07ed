"""The audit as a page, and the field that leads on."""

from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.integration.api.pages.conftest import HOSTILE, Browser, Page
from tests.integration.test_interventions import put
from uow import Database, TaskState

NOTE = """INSERT INTO audit (who, face, address, what, reason, filter, options, counts)
          VALUES (:who, 'shell', :who, :what, :who, json_build_object('user', CAST(:who AS text)),
                  json_build_object('until', CAST(:who AS text)),
                  '{"done": 1200, "left_alone": {"settled": 3}}')"""


async def note(db: Database, who: str, what: str = "cancel") -> None:
    await db.execute_once(text(NOTE), {"who": who, "what": what})


def entries(page: Page) -> int:
    return len([one for one in page.ids() if one.startswith("entry-")])


class TestTheAudit:
    async def test_nothing_says_what_will_be_there(self, browser: Browser) -> None:
        assert "Nobody has acted yet" in (await browser.get("/ui/audit")).text

    async def test_an_entry_says_all_that_is_known_as_text(
        self, browser: Browser, db: Database
    ) -> None:
        await note(db, HOSTILE)
        page = await browser.get("/ui/audit")
        assert page.text.count(HOSTILE) == 5
        assert "1,200 done, 3 left alone (settled)" in page.text
        assert len(page.all("script")) == 1
        assert (await browser.http.get("/api/audit")).status_code == 200

    async def test_it_leads_to_tasks_and_bulk_acts(self, browser: Browser, db: Database) -> None:
        id_ = await put(db, TaskState.QUEUED, user_id="u")
        page = await browser.get("/ui/tasks?user=u")
        button = "To all that fit the filter…"
        page = await browser.led_to(await browser.press(page, "bulk", button, act="cancel"))
        bulk = page.response.url.path
        await browser.press(page, "confirm", "Confirm: cancel")
        page = await browser.get(f"/ui/tasks/{id_}")
        await browser.press(page, "on-task", "Cancel")
        page = await browser.get("/ui/audit")
        assert {f"/ui/tasks/{id_}", bulk} <= {*page.addresses}

    async def test_its_words_narrow_it_and_stay(self, browser: Browser, db: Database) -> None:
        await note(db, "ann")
        await note(db, "bob", "retry")
        for words, n in (
            ({}, 2), ({"who": "ann"}, 1), ({"what": "retry"}, 1), ({"since": "1h"}, 2),
            ({"who": "ann", "what": "retry"}, 0), ({"task": str(uuid4())}, 0),
        ):  # fmt: skip
            page = await browser.get("/ui/audit", **words)
            assert (page.status, entries(page)) == (200, n)
            fields = page.forms["/ui/audit"].fields
            assert {word: fields[word] for word in words} == {w: [v] for w, v in words.items()}

    async def test_its_pages_follow_each_other(self, browser: Browser, db: Database) -> None:
        for n in range(52):
            await note(db, f"u{n}")
        page = await browser.get("/ui/audit?what=cancel")
        assert entries(page) == 50
        page = await browser.get(page.links["Further"])
        assert (entries(page), "Further" in page.links) == (2, False)

    @pytest.mark.parametrize(
        "words", [{"task": "<b>"}, {"since": "soon"}, {"who": "\x00"}, {"before": "x"}]
    )
    async def test_a_word_that_does_not_fit_is_told(
        self, browser: Browser, words: dict[str, str]
    ) -> None:
        page = await browser.get("/ui/audit", **words)
        assert page.status == 422
        assert any(one.get("role") == "alert" for one in page.all("p"))


class TestTheField:
    async def leads(self, browser: Browser, given: str) -> str | None:
        response = await browser.http.get("/ui/find", params={"q": given})
        found: str | None = response.headers.get("location")
        return found

    async def test_it_leads_to_what_there_is_exactly_one_of(
        self, browser: Browser, db: Database
    ) -> None:
        id_ = await put(db, user_id="zoë/7")
        assert await self.leads(browser, f" {id_} ") == f"/ui/tasks/{id_}"
        assert await self.leads(browser, str(id_).upper()) == f"/ui/tasks/{id_}"
        assert await self.leads(browser, "math.add") == "/ui/tasks?name=math.add"
        assert await self.leads(browser, "arq:echo") == "/ui/tasks?queue=arq%3Aecho"
        assert await self.leads(browser, "zoë/7") == "/ui/users/zo%C3%AB%2F7"

    async def test_of_several_it_lets_choose(self, browser: Browser, db: Database) -> None:
        await put(db, user_id="math.add")
        page = await browser.get("/ui/find", q="math.add")
        assert page.links["Tasks of the function math.add"] == "/ui/tasks?name=math.add"
        assert page.links["The user math.add"] == "/ui/users/math.add"

    @pytest.mark.parametrize("given", ["math", HOSTILE, "*"])
    async def test_what_is_not_known_leads_into_lists(self, browser: Browser, given: str) -> None:
        page = await browser.get("/ui/find", q=given)
        assert page.status == 200
        assert f"A user {given}" in page.links
        assert ("Function math.add" in page.links) is (given == "math")
        for address in page.addresses:
            if address.startswith("/ui/tasks?"):
                assert (await browser.get(address)).status == 200

    @pytest.mark.parametrize(("given", "status"), [("", 200), (" ", 200), ("\x00", 200)])
    async def test_what_nothing_can_be_called_is_told(
        self, browser: Browser, given: str, status: int
    ) -> None:
        assert (await browser.get("/ui/find", q=given)).status == status
        assert (await browser.get("/ui/find", q="x" * 513)).status == 422
