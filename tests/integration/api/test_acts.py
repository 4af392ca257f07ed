"""Acts over HTTP, on one task and on all that a filter means; and the audit of them."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.integration.api.conftest import assert_problem, one
from tests.integration.test_interventions import put
from uow import Database, TaskClient, TaskState
from uow.services.bulk_runner import BulkRunner

BULK = "/api/bulk"


async def audit_of(api: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await api.get("/api/audit", params=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["entries"]
    return found


class TestOneTask:
    @pytest.mark.parametrize(
        ("act", "before", "after"),
        [
            ("cancel", TaskState.QUEUED, "cancelled"),
            ("retry", TaskState.FAILED, "queued"),
            ("priority", TaskState.QUEUED, "queued"),
        ],
    )
    async def test_an_act_is_done_once_and_written_down(
        self, api: httpx.AsyncClient, db: Database, act: str, before: TaskState, after: str
    ) -> None:
        task_id = await put(db, before)
        body = {"reason": "asked to", **({"priority": 3} if act == "priority" else {})}
        response = await api.post(f"/api/tasks/{task_id}/{act}", json=body)
        assert (response.status_code, response.content) == (204, b"")
        assert await one(db, "SELECT state FROM task") == after
        found = assert_problem(await api.post(f"/api/tasks/{task_id}/{act}", json=body), 409)
        assert f"Task id {task_id} was left alone: it " in found["detail"]
        (entry,) = await audit_of(api, task=task_id)
        assert (entry["who"], entry["face"], entry["address"]) == (
            "this machine",
            "api",
            "127.0.0.1",
        )
        assert (entry["what"], entry["reason"]) == (act, "asked to")

    async def test_run_now_and_delete(self, api: httpx.AsyncClient, db: Database) -> None:
        body = {"name": "math.add", "args": {"a": 1}, "delay": 3600}
        task_id = (await api.post("/tasks", json=body)).json()["id"]
        assert (await api.post(f"/api/tasks/{task_id}/run-now")).status_code == 204
        assert await one(db, "SELECT run_at <= now() FROM task")
        assert_problem(await api.delete(f"/api/tasks/{task_id}"), 409)
        settled = await put(db)
        response = await api.delete(f"/api/tasks/{settled}", params={"reason": "too large"})
        assert response.status_code == 204
        assert_problem(await api.delete(f"/api/tasks/{settled}"), 404)
        (entry,) = await audit_of(api, what="delete")
        assert entry["reason"] == "too large"

    async def test_a_retry_with_other_arguments(self, api: httpx.AsyncClient, db: Database) -> None:
        task_id = await put(db, name="math.add")
        path = f"/api/tasks/{task_id}/retry"
        found = assert_problem(await api.post(path, json={"args": {"a": "many"}}), 422)
        assert "math.add: a: " in found["detail"]
        assert (await api.post(path, json={"args": {"a": 2}})).status_code == 204
        assert await one(db, "SELECT CAST(args AS text) FROM task") == '{"a":2}'
        assert (await audit_of(api))[0]["args"] == {}

    async def test_what_is_not_there_or_not_as_it_should_be_is_a_problem(
        self, api: httpx.AsyncClient
    ) -> None:
        for act in ("cancel", "retry", "run-now"):
            assert_problem(await api.post(f"/api/tasks/{uuid4()}/{act}"), 404)
            assert_problem(await api.post(f"/api/tasks/{uuid4()}/{act}", json={"x": 1}), 422)
        assert_problem(await api.post(f"/api/tasks/{uuid4()}/priority", json={"priority": 10}), 422)

    async def test_the_old_paths_are_written_down_too(
        self, api: httpx.AsyncClient, db: Database
    ) -> None:
        waiting, failed = await put(db, TaskState.QUEUED), await put(db)
        assert (await api.post(f"/tasks/{waiting}/cancel")).status_code == 204
        assert (await api.post(f"/tasks/{failed}/retry")).status_code == 204
        await put(db, user_id="u")
        assert (await api.post("/tasks/retry", json={"user_id": "u"})).json() == {"retried": 1}
        entries = await audit_of(api)
        assert [(entry["what"], entry["task_id"]) for entry in entries] == [
            ("retry", None), ("retry", str(failed)), ("cancel", str(waiting)),
        ]  # fmt: skip
        assert entries[0]["filter"] == {"state": "failed", "user": "u"}
        assert entries[0]["counts"] == {"done": 1, "left_alone": {}}


class TestManyTasks:
    async def test_a_preview_a_confirmation_and_what_came_of_it(
        self, api: httpx.AsyncClient, db: Database, client: TaskClient
    ) -> None:
        for _ in range(6):
            await put(db, user_id="u")
        asked = {"act": "retry", "filter": {"user": "u"}, "reason": "again"}
        preview = (await api.post(f"{BULK}/preview", json=asked)).json()
        assert (preview["state"], preview["count"], preview["count_is_exact"]) == (
            "previewed", 6, True,
        )  # fmt: skip
        assert len(preview["samples"]) == 5
        assert preview["samples"][0]["state"] == "failed"
        for _ in range(2):
            response = await api.post(
                BULK, json={"id": preview["id"]}, headers={"Idempotency-Key": "once"}
            )
            assert (response.status_code, response.json()["state"]) == (202, "running")
        assert_problem(await api.post(BULK, json={"id": preview["id"]}), 409)
        await BulkRunner(client).run_once()
        found = (await api.get(f"{BULK}/{preview['id']}")).json()
        assert (found["state"], found["done"], found["left_alone"]) == ("done", 6, {})
        (entry,) = await audit_of(api)
        assert (entry["bulk_id"], entry["counts"]["done"]) == (preview["id"], 6)

    async def test_one_is_stopped(self, api: httpx.AsyncClient, db: Database) -> None:
        await put(db)
        asked = {"act": "priority", "priority": 2, "filter": {"state": "failed"}}
        id_ = (await api.post(f"{BULK}/preview", json=asked)).json()["id"]
        assert_problem(await api.post(f"{BULK}/{id_}/stop"), 409)
        await api.post(BULK, json={"id": id_})
        response = await api.post(f"{BULK}/{id_}/stop", json={"reason": "no"})
        assert (response.status_code, response.json()["state"]) == (200, "stopping")
        assert [entry["what"] for entry in await audit_of(api)] == ["stop", "priority"]

    async def test_what_cannot_be_done_is_a_problem(self, api: httpx.AsyncClient) -> None:
        for asked, status in (
            ({"act": "explode", "filter": {"user": "u"}}, 422),
            ({"act": "retry", "filter": {"usr": "u"}}, 422),
            ({"act": "priority", "filter": {"user": "u"}}, 422),
            ({"act": "retry", "filter": {}}, 409),
        ):
            assert_problem(await api.post(f"{BULK}/preview", json=asked), status)
        assert_problem(await api.get(f"{BULK}/{uuid4()}"), 404)
        assert_problem(await api.post(BULK, json={"id": str(uuid4())}), 404)


class TestTheAudit:
    async def test_its_pages_follow_each_other(self, api: httpx.AsyncClient, db: Database) -> None:
        for _ in range(5):
            await api.post(f"/api/tasks/{await put(db)}/retry")
        seen: list[int] = []
        page: dict[str, Any] = {"next": 2**63 - 1}
        while page["next"] is not None:
            query = {"limit": 2, "before": page["next"]}
            page = (await api.get("/api/audit", params=query)).json()
            seen += [entry["id"] for entry in page["entries"]]
        assert seen == sorted(seen, reverse=True)
        assert len(seen) == 5

    async def test_since_is_said_as_in_the_shell(self, api: httpx.AsyncClient) -> None:
        await api.post("/api/queues/mail/pause")
        for since in ("3d", "2020-01-31T12:00Z"):
            assert len(await audit_of(api, since=since)) == 1
        assert await audit_of(api, since="2100-01-31T12:00Z") == []
        assert_problem(await api.get("/api/audit", params={"since": "yesterday"}), 422)

    async def test_what_is_rare_is_looked_for_in_bounds_and_the_page_says_where_to_go_on(
        self, api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("uow.db.audit.WINDOW", 3)
        await api.post(f"/api/tasks/{await put(db, TaskState.QUEUED)}/cancel")
        for _ in range(4):
            await api.post(f"/api/tasks/{await put(db)}/retry")
        first = (await api.get("/api/audit", params={"what": "cancel"})).json()
        assert first["entries"] == []
        query = {"what": "cancel", "before": first["next"]}
        second = (await api.get("/api/audit", params=query)).json()
        assert ([one["what"] for one in second["entries"]], second["next"]) == (["cancel"], None)
