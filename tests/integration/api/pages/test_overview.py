"""The overview, as a browser without scripts has it."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from tests.integration.api.pages.looking import HOSTILE, Seen, look, seen, under
from tests.integration.test_numbers import insert, put, say
from tests.servers import serving
from uow import Database, Settings
from uow.db.transaction import Transaction

SERVED = "INSERT INTO worker_process (id, queue, running, slots, busy) VALUES ('w1', 'mail', '{}', "


def tile(page: Seen, heading: str) -> str:
    """What follows the heading of a tile."""
    return page.text.partition(heading)[2].strip()


async def test_it_says_how_it_goes_and_leads_to_more(api: httpx.AsyncClient, db: Database) -> None:
    await say(db, SERVED + "10, 4)")
    await insert(db, 3, "name, queue, run_at", "'f', 'mail', now()")
    await put(db, 600, 7)
    await put(db, 600, 2, how="failed", error="ValueError")
    page = await look(api, "/ui/")
    assert tile(page, "Slots free").startswith("6 of 10, in 1 worker")
    assert tile(page, "Failed in an hour").startswith("2 of 9 that ended")
    assert page.to("3") == "/ui/tasks?state=queued&state=retrying&state=scheduled"
    assert page.to("mail") == "/ui/queues/mail"
    plots = [given["aria-label"] or "" for given in page.with_class("plot")]
    assert len(plots) == 3
    assert plots[0].startswith("9 attempts ended in the last 1 h, by minute; at most 9 in one")
    assert plots[2].startswith("2 attempts failed")
    assert "The plots as a table" in page.text


async def test_the_plots_go_as_far_back_as_one_asks(api: httpx.AsyncClient, db: Database) -> None:
    await put(db, 60 * 45, 5)
    for last, ended in (("30", "0 attempts"), ("60", "5 attempts"), ("180", "5 attempts")):
        page = await look(api, "/ui/", last=last)
        assert (page.with_class("plot")[0]["aria-label"] or "").startswith(ended)
    assert seen(await api.get("/ui/?last=999999")).status == 422


async def test_an_empty_house_says_what_to_do_next(api: httpx.AsyncClient) -> None:
    page = await look(api, "/ui/")
    assert "No worker lives: nothing runs. Start one." in page.text
    assert "start a worker with worker run" in page.text
    assert page.to("No worker lives: nothing runs. Start one.") == "/ui/workers"


async def test_what_wants_attention_leads_to_where_it_is_mended(
    api: httpx.AsyncClient, db: Database
) -> None:
    await insert(db, 2, "name, queue, run_at", "'f', 'a/b c', now() - interval '1 hour'")
    await say(db, "INSERT INTO pause (kind, target, paused_by) VALUES ('user', 'zoë/7', 'ann')")
    page = await look(api, "/ui/")
    assert "/ui/queues/a%2Fb%20c" in page.hrefs()
    assert "/ui/users/zo%C3%AB%2F7" in page.hrefs()


async def test_what_is_less_urgent_leaves_the_numbers_in_sight(
    api: httpx.AsyncClient, db: Database
) -> None:
    for number in range(8):
        await insert(db, 1, "name, queue, run_at", f"'f', 'q{number}', now() - interval '1 hour'")
    page = await look(api, "/ui/")
    assert all(f"/ui/queues/q{number}" in page.hrefs() for number in range(8))
    assert re.search(r"\d more", page.text)


async def test_hostile_names_are_text(api: httpx.AsyncClient, db: Database) -> None:
    await say(db, "INSERT INTO task (name, queue, run_at, deaths) "
              "SELECT it, it, now() - interval '1 hour', 2 FROM CAST(:it AS text) AS it",
              it=HOSTILE)  # fmt: skip
    await say(db, "INSERT INTO pause (kind, target, reason, paused_by) "
              "VALUES ('queue', :it, :it, :it)", it=HOSTILE)  # fmt: skip
    await put(db, 600, 7, name=HOSTILE, queue=HOSTILE, how="failed", error=HOSTILE)
    page = await look(api, "/ui/")
    assert page.text.count("<script>alert(1)</script>") >= 4


async def test_without_redis_the_rest_is_shown(
    settings: Settings, registry: Any, db: Database
) -> None:
    from pydantic import SecretStr

    from tests.integration.api.apps import api_of

    away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    await insert(db, 3, "name, queue, run_at", "'f', 'mail', now()")
    async with serving(api_of(away, registry)) as http:
        page = await look(http, "/ui/")
        assert "Redis does not answer" in page.text
        assert tile(page, "Waiting").startswith("3")
        queue = await look(http, "/ui/queues/mail")
        assert "Redis does not say" in queue.text


async def test_behind_a_prefix_every_link_works(app: FastAPI, db: Database) -> None:
    await insert(db, 3, "name, queue", "'f', 'mail'")
    async with serving(under(app, "/jobs")) as http:
        for path in ("/ui/", "/ui/queues", "/ui/names/f", "/ui/failures", "/ui/workers",
                     "/ui/schedules"):  # fmt: skip
            page = await look(http, path)
            assert all(href.startswith(("/jobs/ui/", "#")) for href in page.hrefs())


@pytest.mark.parametrize(
    "path",
    ["/ui/", "/ui/queues", "/ui/names", "/ui/queues/mail", "/ui/names/f", "/ui/failures",
     "/ui/workers", "/ui/schedules"],
)  # fmt: skip
async def test_a_page_asks_at_most_four_statements(
    api: httpx.AsyncClient, db: Database, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert(db, 3, "name, queue", "'f', 'mail'")
    await say(db, "INSERT INTO worker_process (id, queue, running) "
              "SELECT 'w1', 'mail', array_agg(id) FROM task")  # fmt: skip
    asked: list[object] = []
    for asks in (Transaction, Database):
        execute = asks.execute_once

        async def counted(
            self: Any, statement: Any, *others: Any, execute: Any = execute, **options: Any
        ) -> Any:
            asked.append(statement)
            return await execute(self, statement, *others, **options)

        monkeypatch.setattr(asks, "execute_once", counted)
    await look(api, path)
    assert 1 <= len(asked) <= 4, asked
