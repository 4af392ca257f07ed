"""Tasks are read, cancelled and retried."""

import json
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from tests.conftest import Drain
from tests.integration.api.conftest import assert_problem, one
from uow import Database


class TestRead:
    async def test_a_task_that_waits(self, api: httpx.AsyncClient) -> None:
        response = await api.post("/tasks", json={"name": "math.add", "args": {"a": 1, "b": 2}})
        found = (await api.get(response.headers["location"])).json()
        assert found | dict.fromkeys(("id", "run_at", "created_at")) == {
            "id": None, "name": "math.add", "state": "queued", "args": {"a": 1, "b": 2},
            "result": None, "progress": None, "errors": [], "user_id": None, "run_at": None,
            "created_at": None, "started_at": None, "settled_at": None, "attempt": 0, "tries": 0,
            "queue": "arq:queue", "priority": 0, "unique_key": None, "headers": {},
        }  # fmt: skip

    async def test_a_task_that_succeeded(self, api: httpx.AsyncClient, drain: Drain) -> None:
        response = await api.post("/tasks", json={"name": "math.add", "args": {"a": 1, "b": 2}})
        await drain()
        found = (await api.get(response.headers["location"])).json()
        assert (found["state"], found["result"], found["progress"]) == ("succeeded", 3, {"done": 1})
        assert (found["attempt"], found["tries"], found["errors"]) == (1, 0, [])
        assert found["created_at"] <= found["started_at"] <= found["settled_at"]

    async def test_a_task_that_failed(self, api: httpx.AsyncClient, drain: Drain) -> None:
        response = await api.post("/tasks", json={"name": "math.fail"})
        await drain()
        found = (await api.get(response.headers["location"])).json()
        assert (found["state"], found["result"], found["tries"]) == ("failed", None, 1)
        (error,) = found["errors"]
        assert "raise ValueError" in error.pop("traceback")
        assert datetime.fromisoformat(error.pop("failed_at")).tzinfo is not None
        assert error == {"attempt": 1, "type": "ValueError", "message": "no such number"}

    async def test_what_is_accepted_at_the_limits_can_be_read(
        self, api: httpx.AsyncClient, drain: Drain
    ) -> None:
        limits: list[Any] = [
            json.loads("[" * 190 + "]" * 190), 10**3000, -(10**3000), 1.5e-300, "\U0010ffff",
            "\\u0000", {"": ""}, {"x" * 3000: None}, "'; DROP TABLE task; --",
        ]  # fmt: skip
        places = []
        for value in limits:
            body = {"name": "echo", "args": {"x": value}, "queue": "arq:queue"}
            response = await api.post("/tasks", json=body)
            assert response.status_code == 202, response.text
            places.append(response.headers["location"])
        await drain()
        for value, place in zip(limits, places, strict=True):
            found = (await api.get(place)).json()
            assert (found["state"], found["result"]) == ("succeeded", value)

    async def test_a_missing_task_is_not_found(self, api: httpx.AsyncClient) -> None:
        task_id = uuid4()
        found = assert_problem(await api.get(f"/tasks/{task_id}"), 404)
        assert found["detail"] == f"Task id {task_id} not found"
        for no_id in ("1", "x", "%00", "%ff", "'--", "9" * 9999):
            assert_problem(await api.get(f"/tasks/{no_id}"), 422)


class TestCancelAndRetry:
    async def enqueue(self, api: httpx.AsyncClient, **body: Any) -> str:
        response = await api.post("/tasks", json={"name": "math.fail", **body})
        return str(response.headers["location"])

    async def test_a_task_is_cancelled_once(self, api: httpx.AsyncClient) -> None:
        place = await self.enqueue(api)
        response = await api.post(f"{place}/cancel")
        assert (response.status_code, response.content) == (204, b"")
        assert (await api.get(place)).json()["state"] == "cancelled"
        found = assert_problem(await api.post(f"{place}/cancel"), 409)
        assert found["detail"].endswith("is cancelled: only an unsettled task can be cancelled")

    async def test_a_failed_task_runs_again_and_keeps_its_errors(
        self, api: httpx.AsyncClient, drain: Drain
    ) -> None:
        place = await self.enqueue(api)
        found = assert_problem(await api.post(f"{place}/retry"), 409)
        assert "is queued: only a failed or cancelled task can run again" in found["detail"]
        await drain()
        response = await api.post(f"{place}/retry")
        assert (response.status_code, response.content) == (204, b"")
        assert (await api.get(place)).json()["state"] == "queued"
        await drain()
        found = (await api.get(place)).json()
        assert (found["state"], len(found["errors"])) == ("failed", 2)

    async def test_a_task_whose_key_is_taken_is_a_conflict_that_names_the_other(
        self, api: httpx.AsyncClient
    ) -> None:
        place = await self.enqueue(api, unique_key="k")
        await api.post(f"{place}/cancel")
        other = await self.enqueue(api, unique_key="k")
        found = assert_problem(await api.post(f"{place}/retry"), 409)
        assert other.removeprefix("/tasks/") in found["detail"]

    async def test_a_missing_task_is_not_found(self, api: httpx.AsyncClient) -> None:
        task_id = uuid4()
        for verb in ("cancel", "retry"):
            found = assert_problem(await api.post(f"/tasks/{task_id}/{verb}"), 404)
            assert found["detail"] == f"Task id {task_id} not found"
            assert_problem(await api.post(f"/tasks/x/{verb}"), 422)

    async def test_many_are_retried_by_a_filter(self, api: httpx.AsyncClient, db: Database) -> None:
        for user_id in ("7", "7", "8"):
            await api.post(f"{await self.enqueue(api, user_id=user_id)}/cancel")
        body = {"user_id": 7, "state": "cancelled", "name": "math.fail", "queue": "arq:queue",
                "settled_before": "2100-01-01T00:00:00Z", "limit": 10}  # fmt: skip
        response = await api.post("/tasks/retry", json=body)
        assert (response.status_code, response.json()) == (200, {"retried": 2})
        assert await one(db, "SELECT count(*) FROM task WHERE state = 'queued'") == 2

    async def test_a_filter_that_says_nothing_or_does_not_fit_is_refused(
        self, refusing: httpx.AsyncClient
    ) -> None:
        bodies: list[dict[str, Any]] = [
            {}, {"name": None}, {"limit": 1}, {"state": "succeeded"}, {"state": []}, {"name": ""},
            {"name": "\x00"}, {"settled_before": "2030-01-01T00:00"}, {"settled_before": 1e99},
            {"name": "x", "limit": 0}, {"name": "x", "limit": 2**31}, {"names": "x"},
        ]  # fmt: skip
        for body in bodies:
            assert_problem(await refusing.post("/tasks/retry", json=body), 422)

    async def test_without_postgres_it_answers_503(self, refusing: httpx.AsyncClient) -> None:
        for path in (f"/tasks/{uuid4()}/cancel", f"/tasks/{uuid4()}/retry", "/tasks/retry"):
            assert_problem(await refusing.post(path, json={"state": "failed"}), 503)
