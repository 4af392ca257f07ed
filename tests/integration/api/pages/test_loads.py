"""The pages of queues and task functions, and pausing there."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.integration.api.apps import api_of
from tests.integration.api.pages.looking import HOSTILE, look, seen, send
from tests.integration.test_numbers import insert, put, say
from tests.servers import serving
from uow import Database, Settings
from uow.api import token_file
from uow.api.roles import Role
from uow.db.pauses import StoredPause, pauses
from uow.tasks.registry import Registry

SERVED = "INSERT INTO worker_process (id, queue, running) VALUES ('w1', 'mail,idle', '{}')"


async def paused(db: Database) -> list[tuple[str, str]]:
    return [(one.kind, one.target) for one in await pauses(db)]


async def audited(db: Database) -> list[tuple[Any, ...]]:
    found = await db.execute_once(
        text("SELECT what, face, filter, reason FROM audit ORDER BY id"), {}
    )
    return [tuple(one) for one in found]


async def test_queues_say_what_waits_and_lead_to_those_tasks(
    api: httpx.AsyncClient, db: Database
) -> None:
    await say(db, SERVED)
    await insert(db, 3, "name, queue, run_at", "'f', 'mail', now()")
    await insert(db, 1, "name, queue, run_at", "'f', 'lonely', now()")
    await put(db, 600, 7, queue="mail")
    await put(db, 600, 2, queue="mail", how="failed", error="ValueError")
    page = await look(api, "/ui/queues")
    assert [page.to(one) for one in ("mail", "lonely", "idle")] == [
        "/ui/queues/mail", "/ui/queues/lonely", "/ui/queues/idle",
    ]  # fmt: skip
    assert page.to("3") == "/ui/tasks?queue=mail&state=queued"
    assert page.to("2") == "/ui/tasks?queue=mail&state=failed&settled-since=1h"
    assert page.text.count("no live worker") == 1
    (spark,) = page.with_class("spark")
    assert spark["aria-label"] == "Ended per minute in the last 30 minutes; at most 9"


async def test_names_are_listed_likewise(api: httpx.AsyncClient, db: Database) -> None:
    await insert(db, 3, "name, queue, run_at", "'mails.send', 'mail', now()")
    page = await look(api, "/ui/names")
    assert page.to("mails.send") == "/ui/names/mails.send"
    assert page.to("3") == "/ui/tasks?name=mails.send&state=queued"
    assert "no live worker" not in page.text


async def test_empty_lists_say_what_to_do_next(api: httpx.AsyncClient) -> None:
    for path in ("/ui/queues", "/ui/names"):
        assert "Start a worker with worker run" in (await look(api, path)).text


async def test_one_task_function_says_what_it_fails_by(
    api: httpx.AsyncClient, db: Database
) -> None:
    await put(db, 600, 4, name="f", how="failed", error="ValueError")
    await put(db, 600, 2, name="f", how="retry", error="KeyError", queue="r")
    await put(db, 600, 9, name="g", how="failed", error="Others")
    page = await look(api, "/ui/names/f")
    assert "ValueError 4 KeyError 2" in page.text
    assert "Others" not in page.text
    assert page.to("4") == "/ui/tasks?name=f&state=failed&settled-since=1h"
    assert "/ui/tasks?error=ValueError&name=f" in page.hrefs()
    assert {"/ui/queues/q", "/ui/queues/r"} <= {*page.hrefs()}
    assert (page.with_class("plot")[0]["aria-label"] or "").startswith("6 attempts ended")


async def test_one_queue_says_which_task_functions_it_has(
    api: httpx.AsyncClient, db: Database
) -> None:
    await insert(db, 2, "name, queue, run_at", "'f', 'a/b', now()")
    await put(db, 600, 4, name="g", queue="a/b")
    await put(db, 600, 4, name="h", queue="other")
    page = await look(api, "/ui/queues/a%2Fb")
    assert {"/ui/names/f", "/ui/names/g"} <= {*page.hrefs()}
    assert "/ui/names/h" not in page.hrefs()
    assert "No live worker serves this queue." in page.text


async def test_what_is_not_there_is_not_spoken_of(api: httpx.AsyncClient) -> None:
    page = seen(await api.get("/ui/queues/mail"))
    assert "the first for" not in page.text
    assert "0/min" in page.text
    assert "p99" not in page.text.split("30 minutes")[0]


async def test_a_queue_is_paused_and_goes_on(api: httpx.AsyncClient, db: Database) -> None:
    fields = {"reason": "the partner is down", "until": "2h"}
    response = await send(api, "/ui/pause?kind=queue&target=a/b", **fields)
    assert (response.status_code, response.headers["location"]) == (
        303, "/ui/queues/a%2Fb?did=pause",
    )  # fmt: skip
    (held,) = await pauses(db)
    assert isinstance(held, StoredPause)
    assert (held.kind, held.target, held.reason) == ("queue", "a/b", "the partner is down")
    assert held.until is not None
    page = await look(api, response.headers["location"])
    assert "It is paused." in page.text
    assert "This queue is paused by" in page.text
    assert "the partner is down" in page.text
    assert "the partner is down" in (await look(api, "/ui/queues")).text
    resumes = [given["formaction"] for tag, given in page.tags if given.get("form") == "act"]
    assert resumes == ["/ui/resume?kind=queue&target=a%2Fb"]
    assert (await send(api, str(resumes[0]))).status_code == 303
    assert await paused(db) == []
    assert await audited(db) == [
        ("pause", "page", {"queue": "a/b"}, "the partner is down"),
        ("resume", "page", {"queue": "a/b"}, None),
    ]


async def test_everything_and_names_and_users_are_paused_likewise(
    api: httpx.AsyncClient, db: Database
) -> None:
    for query, back in (("kind=everything", "/ui/queues?did=pause"),
                        ("kind=name&target=f", "/ui/names/f?did=pause"),
                        ("kind=user&target=ann", "/ui/users/ann?did=pause")):  # fmt: skip
        response = await send(api, f"/ui/pause?{query}")
        assert (response.status_code, response.headers["location"]) == (303, back)
    assert await paused(db) == [("everything", ""), ("name", "f"), ("user", "ann")]
    for path in ("/ui/queues", "/ui/names", "/ui/names/f"):
        assert "Everything is paused" in (await look(api, path)).text
    assert (await send(api, "/ui/resume?kind=everything")).status_code == 303
    assert await paused(db) == [("name", "f"), ("user", "ann")]


@pytest.mark.parametrize(
    ("act", "query", "fields", "status", "said"),
    [
        ("resume", "kind=queue&target=mail", {}, 409, "queue mail is not paused."),
        ("resume", "kind=everything", {}, 409, "everything is not paused."),
        ("pause", "kind=queue&target=mail", {"until": "soon"}, 422, "until=soon is no moment"),
        ("pause", "kind=name&target=f", {"until": "2020-01-01"}, 422, "that is over"),
        ("pause", "kind=everything&target=x", {}, 422, "no everything is called"),
        ("pause", "kind=queue", {}, 422, "no queue is called"),
        ("pause", "kind=planet&target=x", {}, 422, "kind"),
        ("resume", "kind=user&target=ann", {}, 409, "user ann is not paused."),
        ("pause", "kind=queue&target=a%00b", {}, 422, "target"),
    ],
)
async def test_what_cannot_be_done_is_told_on_the_page(
    api: httpx.AsyncClient, db: Database, act: str, query: str, fields: dict[str, str],
    status: int, said: str,
) -> None:  # fmt: skip
    page = seen(await send(api, f"/ui/{act}?{query}", **fields))
    assert page.status == status
    assert said in page.text
    assert [given["role"] for given in page.with_class("problem") if "role" in given] == ["alert"]
    assert await paused(db) == []
    assert await audited(db) == []


async def test_what_was_filled_in_is_not_lost_and_loading_again_leads_back(
    api: httpx.AsyncClient,
) -> None:
    path = "/ui/pause?kind=queue&target=a/b"
    page = seen(await send(api, path, reason=HOSTILE, until="soon"))
    filled = {given.get("name"): given.get("value") for tag, given in page.tags if tag == "input"}
    assert (filled["reason"], filled["until"]) == (HOSTILE, "soon")
    assert "or how long from now" in page.text
    again = await api.get(path)
    assert (again.status_code, again.headers["location"]) == (303, "/ui/queues/a%2Fb")


async def test_hostile_names_and_reasons_are_text(api: httpx.AsyncClient, db: Database) -> None:
    await say(
        db, "INSERT INTO task (name, queue) SELECT it, it FROM CAST(:it AS text) AS it", it=HOSTILE
    )
    for kind in ("queue", "name"):
        await say(db, "INSERT INTO pause (kind, target, reason, paused_by) "
                  "VALUES (:kind, :it, :it, :it)", kind=kind, it=HOSTILE)  # fmt: skip
    await put(db, 60, 3, name=HOSTILE, queue=HOSTILE, how="failed", error=HOSTILE)
    for path in ("queues", "names"):
        page = await look(api, f"/ui/{path}")
        assert "<script>alert(1)</script>" in page.text
        one = await look(api, page.to(HOSTILE))
        assert "<script>alert(1)</script>" in one.text


@pytest.mark.parametrize("path", ["/ui/queues/a%00b", "/ui/names/" + "x" * 600])
async def test_what_can_be_no_name_is_refused(api: httpx.AsyncClient, path: str) -> None:
    assert seen(await api.get(path)).status == 422


async def test_a_viewer_sees_no_buttons_and_may_not_act(
    settings: Settings, registry: Registry, db: Database, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    tokens = {role: token_file.add(file, f"an-{role}", role) for role in Role}
    guarded = settings.model_copy(
        update={"api_tokens_file": file, "api_tokens": (SecretStr("x" * 32),)}
    )
    await say(db, "INSERT INTO pause (kind, target, paused_by) VALUES ('queue', 'mail', 'ann')")
    async with serving(api_of(guarded, registry)) as http:
        for role, buttons, status in ((Role.VIEWER, 0, 403), (Role.OPERATOR, 1, 303)):
            http.headers["authorization"] = f"Bearer {tokens[role]}"
            page = await look(http, "/ui/queues/mail")
            acts = [given for tag, given in page.tags if given.get("form") == "act"]
            assert len(acts) == buttons
            assert ("Pause this queue" in page.text or "Pause with" in page.text) is bool(buttons)
            response = await send(http, "/ui/resume?kind=queue&target=mail")
            assert response.status_code == status
    assert await paused(db) == []
