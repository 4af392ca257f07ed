"""Text that Postgres, JSON or HTML cannot have: no request with it is an error of the server."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from tests.integration.api.conftest import JSON, assert_problem, one
from tests.integration.api.pages.looking import send
from tests.integration.test_interventions import put
from uow import Database, TaskState

NUL, KEPT = "the\x00 partner", "the\ufffd partner"

PAGE_ACTS = ["/ui/pause?kind=queue&target=mail", "/ui/users/ann/pause"]


async def reasons(db: Database) -> list[Any]:
    found = await db.execute_once(text("SELECT reason FROM audit ORDER BY id"), {})
    return [row.reason for row in found]


@pytest.mark.parametrize(
    ("state", "act"),
    [(TaskState.FAILED, "retry"), (TaskState.QUEUED, "cancel"), (TaskState.QUEUED, "priority")],
)
async def test_an_act_is_done_whatever_is_said_about_it(
    api: httpx.AsyncClient, db: Database, state: TaskState, act: str
) -> None:
    asked = {"reason": NUL} | ({"priority": 3} if act == "priority" else {})
    answer = await api.post(f"/api/tasks/{await put(db, state)}/{act}", json=asked)
    assert answer.status_code == 204
    task_id = await put(db, state)
    answer = await send(api, f"/ui/tasks/{task_id}/{act}", **{k: str(v) for k, v in asked.items()})
    assert answer.status_code == 303
    assert await reasons(db) == [KEPT, KEPT]


async def test_neither_a_removal_nor_a_bulk_act_nor_its_stop_fails_by_its_reason(
    api: httpx.AsyncClient, db: Database
) -> None:
    gone, _ = await put(db, TaskState.SUCCEEDED), await put(db, TaskState.FAILED)
    answer = await api.delete(f"/api/tasks/{gone}", params={"reason": NUL})
    assert answer.status_code == 204
    asked = {"act": "retry", "filter": {"name": "x"}, "reason": NUL}
    preview = await api.post("/api/bulk/preview", json=asked)
    assert (preview.status_code, preview.json()["reason"]) == (200, KEPT)
    confirmed = await api.post("/api/bulk", json={"id": preview.json()["id"]})
    assert confirmed.status_code == 202
    stop = await api.post(f"/api/bulk/{preview.json()['id']}/stop", json={"reason": NUL})
    assert stop.status_code == 200
    assert {*await reasons(db)} == {KEPT}


@pytest.mark.parametrize("path", ["everything", "queues/mail", "names/x", "users/ann"])
async def test_it_is_paused_and_resumed_whatever_is_said_about_it(
    api: httpx.AsyncClient, db: Database, path: str
) -> None:
    for act in ("pause", "resume"):
        answer = await api.post(f"/api/{path}/{act}", json={"reason": NUL})
        assert answer.status_code == 204
    assert await reasons(db) == [KEPT, KEPT]


@pytest.mark.parametrize("path", PAGE_ACTS)
async def test_pages_pause_whatever_is_said_about_it(
    api: httpx.AsyncClient, db: Database, path: str
) -> None:
    assert (await send(api, path, reason=NUL)).status_code == 303
    assert await reasons(db) == [KEPT]


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-14:00", "9999-12-31T00:00:00Z"])
async def test_a_pause_until_a_moment_that_no_zone_can_show_is_refused(
    api: httpx.AsyncClient, until: str
) -> None:
    answer = await api.post("/api/queues/mail/pause", json={"until": until})
    detail = assert_problem(answer, 422)["detail"]
    assert "out of range" in detail or "is no moment" in detail


@pytest.mark.parametrize(
    "args",
    [
        '{"why": "\\ud800"}', '{"\\ud800": 1}', '"\\ud800"', '{"a": ' + "[" * 900 + "]" * 900 + "}",
        "[" * 50_000, '{"a": NaN}', '{"a": "\\u0000"}',
    ],
    ids=["surrogate", "key", "text", "deep", "deeper", "nan", "nul"],
)  # fmt: skip
async def test_edited_arguments_that_cannot_be_stored_are_refused_and_shown_again(
    api: httpx.AsyncClient, db: Database, args: str
) -> None:
    path = f"/ui/tasks/{await put(db, TaskState.FAILED, name='math.fail')}/retry"
    answer = await send(api, path, edit="true", args=args[: 2 * 1024])
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    json = await api.post(
        path.replace("/ui/", "/api/"), content=f'{{"args": {args}}}', headers=JSON
    )
    assert json.status_code < 500
    assert await one(db, "SELECT count(*) FROM audit") == 0


@pytest.mark.parametrize("user", ["%00", "a%00b", "x" * 600])
async def test_the_stream_of_a_user_that_cannot_be_is_empty(
    api: httpx.AsyncClient, user: str
) -> None:
    async with api.stream("GET", f"/api/events?user={user}") as answer:
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        told = [await anext(lines) for _ in range(4)]
    assert told[1:] == ["event: snapshot", "id: 1", 'data: {"tasks":[]}']
