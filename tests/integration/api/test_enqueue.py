"""`POST /tasks`."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from fastapi import FastAPI

from tests.conftest import Drain
from tests.integration.api.apps import api_of
from tests.integration.api.conftest import MAX_PAYLOAD, assert_problem, one
from tests.servers import serving
from uow import Database, Settings, TaskContext, task
from uow.broker.redis import RedisClient
from uow.clock import utcnow
from uow.tasks.registry import Registry


class TestEnqueue:
    async def test_it_is_accepted_with_its_id_and_its_place(self, api: httpx.AsyncClient) -> None:
        response = await api.post("/tasks", json={"name": "math.add", "args": {"a": 1}})
        assert response.status_code == 202
        task_id = response.json()["id"]
        assert response.json() == {"id": str(UUID(task_id))}
        assert response.headers["location"] == f"/tasks/{task_id}"
        assert (await api.get(response.headers["location"])).json()["id"] == task_id

    async def test_it_is_committed_and_pushed(
        self, api: httpx.AsyncClient, app: FastAPI, db: Database, redis: RedisClient
    ) -> None:
        response = await api.post("/tasks", json={"name": "math.add", "args": {"a": 1}})
        assert str(await one(db, "SELECT id FROM task")) == response.json()["id"]
        await app.state.client.flush()
        assert await redis.zrange("arq:queue", 0, -1) == [response.json()["id"].encode()]

    async def test_options_are_kept(self, api: httpx.AsyncClient) -> None:
        run_at = (utcnow() + timedelta(days=1)).replace(microsecond=0)
        options = {
            "user_id": "u-1", "unique_key": "k", "queue": "arq:echo", "priority": 9,
            "run_at": run_at.isoformat(), "headers": {"tenant": "acme"},
        }  # fmt: skip
        response = await api.post("/tasks", json={"name": "echo", "args": {"x": None}} | options)
        found = (await api.get(response.headers["location"])).json()
        found["run_at"] = datetime.fromisoformat(found["run_at"]).isoformat()
        assert found | options == found
        assert found["state"] == "scheduled"

    async def test_a_delay_counts_from_now_and_the_functions_defaults_hold(
        self, api: httpx.AsyncClient
    ) -> None:
        body = {"name": "echo", "args": {"x": 1}, "user_id": 7, "delay": 3600}
        response = await api.post("/tasks", json=body)
        found = (await api.get(response.headers["location"])).json()
        run_at, created_at = (datetime.fromisoformat(found[k]) for k in ("run_at", "created_at"))
        assert run_at - created_at == timedelta(hours=1)
        assert (found["queue"], found["priority"], found["user_id"]) == ("arq:echo", 3, "7")

    async def test_a_unique_key_gives_the_task_that_holds_it(
        self, api: httpx.AsyncClient, db: Database
    ) -> None:
        body = {"name": "math.fail", "unique_key": "once"}
        responses = await asyncio.gather(*(api.post("/tasks", json=body) for _ in range(10)))
        assert {r.status_code for r in responses} == {202}
        assert len({r.json()["id"] for r in responses}) == 1
        assert await one(db, "SELECT count(*) FROM task") == 1

    async def test_a_waiting_key_is_shown_until_the_start(
        self, api: httpx.AsyncClient, db: Database, drain: Drain
    ) -> None:
        body = {"name": "math.fail", "unique_key": "once", "unique": "waiting"}
        first, second = await api.post("/tasks", json=body), await api.post("/tasks", json=body)
        assert first.json() == second.json()
        place = first.headers["location"]
        assert (await api.get(place)).json()["unique_key"] == "once"
        await drain()
        assert (await api.get(place)).json()["unique_key"] is None
        assert (await api.post("/tasks", json=body)).json() != first.json()

    async def test_argument_names_and_options_do_not_collide(
        self, api: httpx.AsyncClient, registry: Registry, drain: Drain
    ) -> None:
        @task("collide", registry=registry)
        async def collide(ctx: TaskContext, self: int, session: int, delay: int, name: int) -> int:
            return self + session + delay + name

        args = {"self": 1, "session": 2, "delay": 3, "name": 4}
        response = await api.post("/tasks", json={"name": "collide", "args": args})
        await drain()
        assert (await api.get(response.headers["location"])).json()["result"] == 10

    async def test_an_unknown_name_is_refused_with_the_nearest(
        self, refusing: httpx.AsyncClient
    ) -> None:
        found = assert_problem(await refusing.post("/tasks", json={"name": "math.ad"}), 422)
        assert found["detail"] == "no task function is called math.ad; did you mean math.add?"

    async def test_what_does_not_fit_the_function_is_refused(
        self, refusing: httpx.AsyncClient
    ) -> None:
        bodies: list[tuple[dict[str, Any], str]] = [
            ({"name": "math.add"}, "math.add: a: Field required"),
            ({"name": "math.add", "args": {"a": "hunter2"}}, "math.add: a: Input should be a val"),
            ({"name": "math.add", "args": {"a": 1, "c": 2}}, "math.add: c: Extra inputs"),
            ({"name": "echo", "args": {"x": "\x00"}}, "NUL"),
            ({"name": "math.fail", "user_id": "\x00"}, "user_id is not a text of 1 to 512"),
            (
                {"name": "math.fail", "queue": "session:1"},
                "no queue 'session:1' here; there are arq",
            ),
            ({"name": "fire", "unique_key": "k"}, "durable=False"),
            ({"name": "math.fail", "delay": 1, "run_at": "2030-01-01T00:00Z"}, "not both"),
            ({"name": "math.fail", "unique": "waiting"}, "unique_key is held, but there is none"),
        ]
        for body, says in bodies:
            assert says in assert_problem(await refusing.post("/tasks", json=body), 422)["detail"]

    async def test_what_does_not_fit_the_schema_is_refused_with_its_place(
        self, refusing: httpx.AsyncClient
    ) -> None:
        fields: list[tuple[str, Any]] = [
            ("delay", -1), ("delay", 1e300), ("delay", "soon"), ("run_at", "2030-01-01T00:00"),
            ("run_at", "tomorrow"), ("priority", 10), ("priority", -1), ("priority", 1.5),
            ("user_id", ""), ("user_id", "u" * 256), ("unique_key", "k" * 256), ("queue", ""),
            ("queue", "q" * 513), ("queue", "a\x00"), ("queue", "a\nb"),
            ("queue", "arq:job:1"), ("queue", "arq:abort"), ("queue", "arq:queue:health-check"),
            ("args", []), ("args", None), ("name", ""), ("name", None), ("max_tries", 3),
            ("secret", "hunter2"), ("unique", "always"), ("unique", None),
        ]  # fmt: skip
        for field, value in fields:
            response = await refusing.post("/tasks", json={"name": "math.fail", field: value})
            faults = assert_problem(response, 422)["errors"]
            assert all(fault["loc"][:2] == ["body", field] for fault in faults)
            assert all(set(fault) == {"loc", "msg", "type"} for fault in faults)

    async def test_arguments_that_are_too_large_are_refused(
        self, refusing: httpx.AsyncClient
    ) -> None:
        body = {"name": "echo", "args": {"x": "x" * MAX_PAYLOAD}}
        found = assert_problem(await refusing.post("/tasks", json=body), 413)
        assert "WORKER_MAX_PAYLOAD_BYTES" in found["detail"]

    async def test_a_task_without_a_row_is_pushed(
        self, api: httpx.AsyncClient, redis: RedisClient
    ) -> None:
        response = await api.post("/tasks", json={"name": "fire"})
        assert response.status_code == 202
        assert "location" not in response.headers
        assert await redis.zrange("arq:queue", 0, -1) == [response.json()["id"].encode()]

    async def test_behind_a_prefix_the_place_has_it(
        self, settings: Settings, registry: Registry
    ) -> None:
        outer = FastAPI(lifespan=None)
        inner = api_of(settings, registry)
        outer.mount("/worker", inner)
        async with inner.router.lifespan_context(inner), serving(outer) as http:
            response = await http.post("/worker/tasks", json={"name": "math.fail"})
            assert response.headers["location"] == f"/worker/tasks/{response.json()['id']}"
            assert (await http.get(response.headers["location"])).status_code == 200
