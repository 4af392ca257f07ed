"""`Idempotency-Key` on every act, and ETags on everything that is looked at."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from tests.integration.api.apps import api_of
from tests.integration.api.conftest import assert_problem, one
from tests.integration.test_interventions import put
from uow import Database, Settings, TaskClient, TaskState
from uow.api.routes import ROLES
from uow.db import answers, audit
from uow.services.bulk_runner import AuditPruner
from uow.tasks.registry import Registry

KEY = {"Idempotency-Key": "monday"}

ACTS = [route for route in ROLES if not route.startswith("GET ") and " /api/" in route]


async def change(db: Database, statement: str) -> None:
    async with db.get_session() as session:
        await session.execute(text(statement))


def same(first: httpx.Response, second: httpx.Response) -> bool:
    """The second is the first again, and says so."""
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    return (first.status_code, first.content) == (second.status_code, second.content)


async def noted(db: Database) -> Any:
    return await one(db, "SELECT count(*) FROM audit")


def test_every_act_takes_a_key(unconnected: Settings, registry: Registry) -> None:
    paths = api_of(unconnected, registry).openapi()["paths"]
    for route in ACTS:
        method, path = route.split()
        operation = paths[path.replace(":path", "")][method.lower()]
        headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
        assert "Idempotency-Key" in headers, route


class TestAnActWithAKey:
    @pytest.mark.parametrize(
        ("act", "before", "again"),
        [
            ("cancel", TaskState.QUEUED, TaskState.QUEUED),
            ("retry", TaskState.FAILED, TaskState.FAILED),
            ("priority", TaskState.QUEUED, TaskState.QUEUED),
            ("run-now", TaskState.SCHEDULED, TaskState.SCHEDULED),
        ],
    )
    async def test_is_done_once_even_if_it_could_be_done_again(
        self, api: httpx.AsyncClient, db: Database, act: str, before: TaskState, again: TaskState
    ) -> None:
        task_id = await put(db, before)
        await change(db, "UPDATE task SET run_at = now() + interval '1 h', priority = 0")
        path = f"/api/tasks/{task_id}/{act}"
        body = {"priority": 3} if act == "priority" else {"reason": "asked to"}
        first = await api.post(path, json=body, headers=KEY)
        assert first.status_code == 204
        settled = "now()" if again is TaskState.FAILED else "NULL"
        ended = "'failed'" if again is TaskState.FAILED else "NULL"
        as_before = f"state = '{again}', settled_at = {settled}, ended = {ended}, priority = 0"
        later = "run_at = now() + interval '1 h'"
        await change(db, f"UPDATE task SET {as_before}, {later}")
        assert same(first, await api.post(path, json=body, headers=KEY))
        assert await one(db, "SELECT state FROM task") == again
        assert await noted(db) == 1

    async def test_with_another_request_is_a_mistake(
        self, api: httpx.AsyncClient, db: Database
    ) -> None:
        first, second = await put(db), await put(db)
        assert (await api.post(f"/api/tasks/{first}/retry", headers=KEY)).status_code == 204
        for path, body in (
            (f"/api/tasks/{second}/retry", None),
            (f"/api/tasks/{first}/cancel", None),
            (f"/api/tasks/{first}/retry", {"reason": "another"}),
            ("/api/everything/pause", None),
        ):
            found = assert_problem(await api.post(path, json=body, headers=KEY), 422)
            assert "'monday' was used for another request" in found["detail"]
        assert await noted(db) == 1

    async def test_a_refusal_is_an_answer_too(self, api: httpx.AsyncClient, db: Database) -> None:
        task_id = await put(db, TaskState.QUEUED)
        path = f"/api/tasks/{task_id}/retry"
        first = await api.post(path, headers=KEY)
        assert_problem(first, 409)
        await change(
            db, "UPDATE task SET state = 'failed', settled_at = now(), expires_at = 'infinity'"
        )
        assert same(first, await api.post(path, headers=KEY))
        assert (await api.post(path)).status_code == 204

    async def test_that_is_asked_for_many_times_at_once_is_done_once(
        self, api: httpx.AsyncClient, db: Database
    ) -> None:
        task_id = await put(db)
        path = f"/api/tasks/{task_id}/retry"
        found = await asyncio.gather(*(api.post(path, headers=KEY) for _ in range(8)))
        assert [one.status_code for one in found] == [204] * 8
        assert await noted(db) == 1

    async def test_whose_second_asking_comes_while_the_first_commits_is_rolled_back(
        self, api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The look at the key has found nothing, and the act could be done: its INSERT decides."""
        task_id = await put(db)
        path = f"/api/tasks/{task_id}/retry"
        read, looks = answers.read, iter([True, False])

        async def blind(*args: Any) -> Any:
            return None if next(looks, False) else await read(*args)

        assert (await api.post(path, headers=KEY)).status_code == 204
        await change(
            db,
            "UPDATE task SET state = 'failed', settled_at = now(), ended = 'failed', "
            "expires_at = 'infinity'",
        )
        monkeypatch.setattr(answers, "read", blind)
        assert (await api.post(path, headers=KEY)).headers["idempotent-replayed"] == "true"
        assert await one(db, "SELECT state FROM task") == "failed"
        assert await noted(db) == 1

    async def test_that_is_not_done_leaves_its_key_free(
        self, api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task_id = await put(db)
        path = f"/api/tasks/{task_id}/retry"

        async def breaks(*_: Any) -> int:
            raise ConnectionResetError

        with monkeypatch.context() as broken:
            broken.setattr(audit, "note", breaks)
            assert_problem(await api.post(path, headers=KEY), 503)
        assert await one(db, "SELECT count(*) FROM act_answer") == 0
        assert (await api.post(path, headers=KEY)).status_code == 204

    async def test_whose_answer_was_lost_is_not_done_again(
        self, api: httpx.AsyncClient, db: Database
    ) -> None:
        await put(db)
        asked = {"act": "retry", "filter": {"state": "failed"}}
        id_ = (await api.post("/api/bulk/preview", json=asked)).json()["id"]
        await api.post("/api/bulk", json={"id": id_})
        path = f"/api/bulk/{id_}/stop"
        assert (await api.post(path, headers=KEY)).status_code == 200
        await change(db, "UPDATE act_answer SET body = NULL")
        found = assert_problem(await api.post(path, headers=KEY), 409)
        assert "the answer was lost" in found["detail"]

    async def test_that_is_no_key_is_refused(self, api: httpx.AsyncClient, db: Database) -> None:
        task_id = await put(db)
        for key in ("", "x" * 256):
            headers = {"Idempotency-Key": key}
            response = await api.post(f"/api/tasks/{task_id}/retry", headers=headers)
            assert_problem(response, 422)
        assert await noted(db) == 0


class TestTheOthers:
    async def test_a_delete(self, api: httpx.AsyncClient, db: Database) -> None:
        path = f"/api/tasks/{await put(db)}"
        first = await api.delete(path, headers=KEY)
        assert first.status_code == 204
        assert same(first, await api.delete(path, headers=KEY))

    @pytest.mark.parametrize("what", ["everything", "queues/q/a", "names/n", "users/u"])
    async def test_pauses(self, api: httpx.AsyncClient, db: Database, what: str) -> None:
        for act in ("pause", "resume"):
            headers = {"Idempotency-Key": act}
            first = await api.post(f"/api/{what}/{act}", json={"reason": "x"}, headers=headers)
            assert first.status_code == 204
            again = await api.post(f"/api/{what}/{act}", json={"reason": "x"}, headers=headers)
            assert same(first, again)
        assert await noted(db) == 2

    async def test_bulk_acts(self, api: httpx.AsyncClient, db: Database) -> None:
        await put(db)
        asked: dict[str, Any] = {"act": "retry", "filter": {"state": "failed"}}
        found = list[dict[str, Any]]()
        for step, body in (("preview", asked), ("", None), ("stop", None)):
            path = {"preview": "/api/bulk/preview", "": "/api/bulk"}.get(step)
            path = path or f"/api/bulk/{found[0]['id']}/stop"
            body = body or ({"id": found[0]["id"]} if step == "" else {"reason": "no"})
            headers = {"Idempotency-Key": f"step-{step}"}
            first = await api.post(path, json=body, headers=headers)
            assert first.is_success, first.text
            assert same(first, await api.post(path, json=body, headers=headers))
            found.append(first.json())
        assert await one(db, "SELECT count(*) FROM bulk_act") == 1
        assert await noted(db) == 2


async def test_a_key_is_known_for_a_day_and_more_and_not_for_ever(
    db: Database, client: TaskClient
) -> None:
    kept = answers.KeptAnswer("x", 204, None)
    for hours in (1, 25, 47, 49, 100):
        await answers.take(db, "me", str(hours), kept)
        at = f"now() - interval '{hours} h'"
        await change(db, f"UPDATE act_answer SET at = {at} WHERE key = '{hours}'")
    await AuditPruner(client).run_once()
    assert await one(db, "SELECT array_agg(key ORDER BY at DESC) FROM act_answer") == [
        "1", "25", "47",
    ]  # fmt: skip


async def test_two_callers_may_have_the_same_key(db: Database) -> None:
    for who, request in (("me", "x"), ("you", "y")):
        assert await answers.take(db, who, "k", answers.KeptAnswer(request, 204, None))
    assert not await answers.take(db, "me", "k", answers.KeptAnswer("x", 204, None))


@pytest.mark.parametrize(
    "route", [route for route in ROLES if route.startswith("GET ") and "events" not in route]
)
async def test_what_is_looked_at_has_a_tag_and_is_not_sent_twice(
    api: httpx.AsyncClient, db: Database, route: str
) -> None:
    task_id = await put(db)
    asked = {"act": "retry", "filter": {"state": "failed"}}
    bulk_id = (await api.post("/api/bulk/preview", json=asked)).json()["id"]
    template = route.removeprefix("GET ").replace(":path}", "}")
    path = template.format(task_id=task_id, user_id="u", bulk_id=bulk_id)
    first = await api.get(path)
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = await api.get(path, headers={"If-None-Match": given})
        if route == "GET /api/servers" and again.status_code == 200:
            continue  # Redis has used some more memory meanwhile
        assert (again.status_code, again.content) == (304, b"")
    assert (await api.get(path, headers={"If-None-Match": '"x"'})).status_code == 200
    gone = await api.get(f"/api/tasks/{uuid4()}", headers={"If-None-Match": "*"})
    assert gone.status_code == 404
