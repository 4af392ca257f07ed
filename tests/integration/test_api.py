"""The HTTP API, under a real server, with real servers behind it."""

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI, routing
from pydantic import SecretStr
from sqlalchemy import text

from tests.conftest import Drain
from tests.processes import environment_of
from tests.servers import serving
from uow import Database, Settings, TaskContext, task
from uow.api.app import create_app
from uow.api.limits import ENVELOPE_BYTES
from uow.api.server import serve
from uow.broker.redis import RedisClient
from uow.clock import utcnow
from uow.db import migrations
from uow.db.migrations.application import AppMigrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.errors import ClientClosed, SchemaError, ServerUnreachable, SettingsError
from uow.tasks.outlets import reader_of
from uow.tasks.registry import Registry
from worker.main import app as application

DEAD_POSTGRES = SecretStr("postgresql+asyncpg://user:hunter2@127.0.0.1:1/none")
DEAD_REDIS = SecretStr("redis://:hunter2@127.0.0.1:1/0")
MAX_PAYLOAD = 4096

SQL_OR_TRACE = re.compile(r"hunter2|SELECT|INSERT|asyncpg|sqlalchemy|Traceback|127\.0\.0\.1:1\b")


api_of = partial(create_app, application=application)
"""With the users' routes."""


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    return application_template


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_payload_bytes": MAX_PAYLOAD})


@pytest.fixture
def registry(registry: Registry) -> Registry:
    @task("math.add", registry=registry)
    async def add(ctx: TaskContext, a: int, b: int = 0) -> int:
        await ctx["task"].report(done=a)
        return a + b

    @task("math.fail", max_tries=1, registry=registry)
    async def fail(ctx: TaskContext) -> None:
        raise ValueError("no such number")

    @task("echo", queue="arq:echo", priority=3, registry=registry)
    async def echo(ctx: TaskContext, x: Any) -> Any:
        return x

    @task("fire", durable=False, registry=registry)
    async def fire(ctx: TaskContext) -> None: ...

    return registry


@pytest.fixture
def app(settings: Settings, registry: Registry) -> FastAPI:
    return api_of(settings, registry)


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(app) as http:
        yield http


@pytest.fixture
def unconnected() -> Settings:
    """Settings for what must work, or be refused, before any server is asked."""
    return Settings(database_url=DEAD_POSTGRES, redis_url=DEAD_REDIS, max_payload_bytes=MAX_PAYLOAD)


@pytest.fixture
async def refusing(unconnected: Settings, registry: Registry) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API in which whatever passes the checks is a 503."""
    async with serving(api_of(unconnected, registry)) as http:
        yield http


@asynccontextmanager
async def calling(
    app: FastAPI, address: str | None = "127.0.0.1", **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose address can be chosen; the app is not started."""
    client = None if address is None else (address, 4711)
    transport = httpx.ASGITransport(app, client=client)  # type: ignore[arg-type]
    options = {"base_url": "http://localhost", **options}
    async with httpx.AsyncClient(transport=transport, **options) as http:
        yield http


def assert_problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The response is a problem of that status; returns it."""
    assert (response.status_code, response.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), response.text
    found: dict[str, Any] = response.json()
    assert (found["type"], found["status"]) == ("about:blank", status)
    assert found["title"]
    assert found["detail"]
    assert set(found) <= {"type", "title", "status", "detail", "errors"}
    assert not SQL_OR_TRACE.search(response.text)
    return found


async def one(db: Database, statement: str) -> Any:
    return (await db.execute_once(text(statement), {})).scalar_one()


class TestUsers:
    async def test_a_created_user_can_be_read(self, api: httpx.AsyncClient) -> None:
        created = await api.post("/users", json={"username": " ann ", "email": "ann@EXAMPLE.com"})
        assert created.status_code == 201
        user = created.json()
        assert user | {"id": 0, "created_at": ""} == {
            "id": 0,
            "username": "ann",
            "email": "ann@example.com",
            "is_active": True,
            "created_at": "",
            "last_seen_at": None,
            "welcomed_at": None,
        }
        assert datetime.fromisoformat(user["created_at"]).tzinfo is not None
        read = await api.get(f"/users/{user['id']}")
        assert (read.status_code, read.json()) == (200, user)

    async def test_creating_a_user_enqueues_nothing(
        self, api: httpx.AsyncClient, db: Database, redis: RedisClient
    ) -> None:
        await api.post("/users", json={"username": "ann", "email": "ann@example.com"})
        assert await one(db, "SELECT count(*) FROM task") == 0
        assert await redis.keys("*") == []

    async def test_a_taken_user_is_a_conflict(self, api: httpx.AsyncClient, db: Database) -> None:
        first = {"username": "ann", "email": "ann@example.com"}
        await api.post("/users", json=first)
        for same in first:
            second = {"username": "bob", "email": "bob@example.com"} | {same: first[same]}
            found = assert_problem(await api.post("/users", json=second), 409)
            assert same in found["detail"]
        assert await one(db, "SELECT count(*) FROM users") == 1

    async def test_creating_the_same_user_at_once_makes_one(
        self, api: httpx.AsyncClient, db: Database
    ) -> None:
        user = {"username": "ann", "email": "ann@example.com"}
        responses = await asyncio.gather(*(api.post("/users", json=user) for _ in range(20)))
        assert sorted(r.status_code for r in responses) == [201, *[409] * 19]

    async def test_a_missing_user_is_not_found(self, api: httpx.AsyncClient) -> None:
        found = assert_problem(await api.get("/users/404"), 404)
        assert found["detail"] == "User id 404 not found"
        for user_id in ("0", "-1", str(2**63), "9" * 5000, "1.5", "x", "%00", "%ff"):
            assert_problem(await api.get(f"/users/{user_id}"), 422)

    async def test_without_the_built_in_tasks_there_are_no_users(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        app = create_app(unconnected, registry)
        assert "User" not in app.openapi()["components"]["schemas"]
        async with calling(app) as http:
            assert_problem(await http.get("/users/1"), 404)

    async def test_the_response_model_is_called_user(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        schema = api_of(unconnected, registry).openapi()["components"]["schemas"]["User"]
        assert list(schema["properties"]) == [
            "id", "username", "email", "is_active", "created_at", "last_seen_at", "welcomed_at",
        ]  # fmt: skip


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
            "run_at": run_at.isoformat(),
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


class TestRead:
    async def test_a_task_that_waits(self, api: httpx.AsyncClient) -> None:
        response = await api.post("/tasks", json={"name": "math.add", "args": {"a": 1, "b": 2}})
        found = (await api.get(response.headers["location"])).json()
        assert found | dict.fromkeys(("id", "run_at", "created_at")) == {
            "id": None, "name": "math.add", "state": "queued", "args": {"a": 1, "b": 2},
            "result": None, "progress": None, "errors": [], "user_id": None, "run_at": None,
            "created_at": None, "started_at": None, "settled_at": None, "attempt": 0, "tries": 0,
            "queue": "arq:queue", "priority": 0, "unique_key": None,
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


# In each a %s stands for 3000 digits.
BAD_TASKS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"%s",
    b"NaN",
    b"{}}",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"{'name': 1}",
    b'{"name": {"$ne": 1}}',
    b'{"name": "echo", "name": 7}',
    b'{"name": "\x00"}',
    b'{"name": "\\u0000"}',
    b'{"name": "\\ud800"}',
    b'{"name": "%s"}',
    b'{"name": "echo", "\\ud800": 1}',
    b'{"name": "echo", "args": {"\\ud800": 1}}',
    b'{"name": "echo", "args": {"\\u0000": 1}}',
    b'{"name": "echo", "args": {"x": "\\udfff"}}',
    b'{"name": "echo", "args": {"x": "\\u0000"}}',
    b'{"name": "echo", "args": {"x": "\xed\xa0\x80"}}',
    b'{"name": "echo", "args": {"x": NaN}}',
    b'{"name": "echo", "args": {"x": -Infinity}}',
    b'{"name": "echo", "args": {"x": 1e999}}',
    b'{"name": "echo", "args": {"x": %s%s}}',
    b'{"name": "echo", "args": {"x": 1%s',
    b'{"name": "math.add", "args": {"a": 1e3000}}',
    b'{"name": "math.add", "args": {"a": {"a": {}}}}',
    b'{"name": "math.fail", "user_id": %s}',
    b'{"name": "math.fail", "user_id": "\\ud800"}',
    b'{"name": "math.fail", "user_id": {}}',
    b'{"name": "math.fail", "priority": %s}',
    b'{"name": "math.fail", "delay": %s}',
    b'{"name": "math.fail", "delay": 1e999}',
    b'{"name": "math.fail", "delay": NaN}',
    b'{"name": "math.fail", "run_at": %s}',
    b'{"name": "math.fail", "run_at": "-infinity"}',
    b'{"name": "math.fail", "run_at": "0001-01-01T00:00:00+14:00"}',
    b'{"name": "math.fail", "run_at": "9999-12-31T23:59:59-14:00"}',
    b'{"name": "math.fail", "unique_key": "\\ud800"}',
    b'{"name": "math.fail", "unique_key": "\\u0000"}',
    b'{"name": "math.fail", "unique_key": "%s"}',
    *(
        b'{"name": "echo", "args": {"x": ' + b"[" * depth + b"]" * depth + b"}}"
        for depth in (201, 254, 255, 900, 2000)
    ),
    b'{"name": "echo", "args": ' + b'{"x":' * 300 + b"1" + b"}" * 300 + b"}",
    b"[" * 30_000,
]

BAD_USERS = [
    b"",
    b"[]",
    b'{"username": "ann"}',
    b'{"username": {}, "email": []}',
    b'{"username": "%s", "email": "a@example.com"}',
    b'{"username": "\\u0000", "email": "a@example.com"}',
    b'{"username": "\\ud800", "email": "a@example.com"}',
    b'{"username": "ann", "email": "\\ud800@example.com"}',
    b'{"username": "ann", "email": "a\\r\\nBcc: b@example.com"}',
    b'{"username": "ann", "email": "' + b"a@" * 2000 + b'"}',
    b'{"username": "ann", "email": "a@example.com", "is_active": false}',
]

JSON = {"content-type": "application/json"}


class TestBadRequests:
    @pytest.fixture
    def app(self, unconnected: Settings, registry: Registry) -> FastAPI:
        return api_of(unconnected, registry)

    async def test_no_body_is_a_server_error(self, api: httpx.AsyncClient) -> None:
        bodies = [("/tasks", body) for body in BAD_TASKS] + [("/users", body) for body in BAD_USERS]
        for path, body in bodies:
            content = body.replace(b"%s", b"9" * 3000)
            response = await api.post(path, content=content, headers=JSON)
            assert 400 <= response.status_code < 500, (body[:80], response.text)
            assert_problem(response, response.status_code)

    async def test_only_json_is_read_as_json(self, api: httpx.AsyncClient) -> None:
        """So a page from elsewhere cannot send it without a preflight, which is refused."""
        body = b'{"name": "math.fail"}'
        for content_type in (b"text/plain", b"multipart/form-data", b"\xff", b";;=", b"x/y/z"):
            headers = {b"content-type": content_type}
            response = await api.post("/tasks", content=body, headers=headers)
            assert_problem(response, 422)
        assert_problem(await api.post("/tasks", content=body), 422)
        assert_problem(await api.options("/tasks"), 405)

    async def test_paths_and_methods_that_are_not_there_are_problems(
        self, api: httpx.AsyncClient
    ) -> None:
        for path in ("/", "/%00", "/%ff", "/" + "a" * 9999, "/tasks/x/y", "/health"):
            assert_problem(await api.get(path), 404)
        for method, path in [("GET", "/tasks"), ("DELETE", "/users/1"), ("BREW", "/users")]:
            response = await api.request(method, path)
            assert_problem(response, 405)
            assert response.headers["allow"]

    async def test_every_answer_has_the_security_headers(
        self, api: httpx.AsyncClient, app: FastAPI
    ) -> None:
        @app.get("/bug")
        async def bug() -> None:
            raise ZeroDivisionError

        answers = [
            await api.get(path, headers={"host": host})
            for host in ("localhost", "evil.example")
            for path in ("/health/live", "/openapi.json", "/users/1", "/users/x", "/bug", "/docs")
        ]
        assert {r.status_code for r in answers} == {200, 403, 422, 500, 503}
        assert {r.headers["x-content-type-options"] for r in answers} == {"nosniff"}
        assert {r.headers["cache-control"] for r in answers} == {"no-store"}

    async def test_an_unexpected_error_is_logged_and_not_told(
        self, api: httpx.AsyncClient, app: FastAPI, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.get("/bug")
        async def bug() -> None:
            raise RuntimeError("the password is hunter2")

        assert_problem(await api.get("/bug"), 500)
        (record,) = (r for r in caplog.records if r.name == "uow.api.problems")
        assert "GET '/bug' answered with 500: RuntimeError" in record.message
        assert record.exc_info is not None


class TestBodyLimit:
    """Against the bytes on the wire: what is refused is not waited for."""

    HEAD = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async def send(self, api: httpx.AsyncClient, *parts: bytes) -> bytes:
        """Send `parts` and then nothing more; returns the status line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port)
        async with asyncio.timeout(10):
            try:
                writer.writelines(parts)
                await writer.drain()
                return await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()

    async def test_a_body_that_says_it_is_too_large_is_refused_at_once(
        self, refusing: httpx.AsyncClient
    ) -> None:
        limit = MAX_PAYLOAD + ENVELOPE_BYTES
        head = f"{self.HEAD}Content-Length: {limit + 1}\r\n\r\n".encode()
        assert b" 413 " in await self.send(refusing, head)

    async def test_a_body_that_turns_out_too_large_is_not_read_on(
        self, refusing: httpx.AsyncClient
    ) -> None:
        limit = MAX_PAYLOAD + ENVELOPE_BYTES
        head = f"{self.HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
        chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
        assert b" 413 " in await self.send(refusing, head, chunk * (limit // 0x1000 + 1))

    async def test_both_are_problems(self, refusing: httpx.AsyncClient) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(MAX_PAYLOAD + ENVELOPE_BYTES + 1024, 0, -1024):
                yield b" " * 1024

        for content in (b" " * (MAX_PAYLOAD + ENVELOPE_BYTES + 1), chunks()):
            response = await refusing.post("/tasks", content=content, headers=JSON)
            found = assert_problem(response, 413)
            assert "69,632 bytes" in found["detail"]

    async def test_white_space_up_to_the_limit_is_no_fault(
        self, refusing: httpx.AsyncClient
    ) -> None:
        body = b'{"name": "math.fail"}'.ljust(MAX_PAYLOAD + ENVELOPE_BYTES)
        # It comes as far as Postgres.
        assert_problem(await refusing.post("/tasks", content=body, headers=JSON), 503)


class TestTokens:
    SHOWN: ClassVar[dict[str, list[str]]] = {
        "none": [],
        "no token": ["Bearer"],
        "wrong": ["Bearer wrong"],
        "part of one": ["Bearer alpha-toke"],
        "both in one": ["Bearer alpha-token,bêta-tøken"],
        "other scheme": ["Basic alpha-token"],
        "no scheme": ["alpha-token"],
        "wrong, not ASCII": ["Bearer bêtä"],
        "two headers": ["Bearer alpha-token", "Bearer alpha-token"],
        "right": ["Bearer alpha-token"],
        "right, not ASCII": ["Bearer bêta-tøken"],
        "right, other case of the scheme": ["bearer  alpha-token"],
    }

    @pytest.fixture
    def app(self, unconnected: Settings, registry: Registry) -> FastAPI:
        tokens = (SecretStr("alpha-token"), SecretStr("bêta-tøken"))
        return api_of(unconnected.model_copy(update={"api_tokens": tokens}), registry)

    async def test_every_route_but_health_needs_one(
        self, api: httpx.AsyncClient, app: FastAPI
    ) -> None:
        # Newer versions have a router in them as such.
        flat = getattr(routing, "iter_route_contexts", iter)
        routes = [
            (method, str(context.path))
            for context in flat(app.routes)
            for method in sorted(context.methods or ())
        ]
        assert {path for _, path in routes} == {
            "/openapi.json", "/health/live", "/health/ready", "/tasks", "/tasks/{task_id}",
            "/tasks/{task_id}/cancel", "/tasks/{task_id}/retry", "/tasks/retry",
            "/users", "/users/{user_id}",
        }  # fmt: skip
        for method, path in [*routes, ("GET", "/not/there"), ("GET", "/health/live/")]:
            for shown in self.SHOWN:
                let_in = await self.lets_in(api, method, path, shown)
                expected = shown.startswith("right") or path in ("/health/live", "/health/ready")
                assert let_in == expected, (method, path, shown)

    async def lets_in(self, api: httpx.AsyncClient, method: str, path: str, shown: str) -> bool:
        headers = [(b"authorization", value.encode()) for value in self.SHOWN[shown]]
        path = path.format(task_id=uuid4(), user_id=1)
        response = await api.request(method, path, headers=headers)
        if response.status_code == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert method == "HEAD" or assert_problem(response, 401)
        return response.status_code != 401

    async def test_nothing_is_read_from_whoever_has_none(self, api: httpx.AsyncClient) -> None:
        assert_problem(await api.post("/tasks", content=b"x" * 5_000_000), 401)

    async def test_any_host_and_any_client_may_come_with_one(self, app: FastAPI) -> None:
        headers = {"authorization": "Bearer alpha-token", "origin": "https://app.example"}
        async with calling(
            app, "203.0.113.7", base_url="https://api.example", headers=headers
        ) as http:
            assert (await http.get("/openapi.json")).status_code == 200

    async def test_an_empty_token_is_none(self, unconnected: Settings, registry: Registry) -> None:
        tokens = (SecretStr(""),)
        app = api_of(unconnected.model_copy(update={"api_tokens": tokens}), registry)
        async with calling(app) as http:
            for shown in ("Bearer", "Bearer ", "Bearer  "):
                response = await http.get("/openapi.json", headers={"authorization": shown})
                assert_problem(response, 401)

    async def test_the_schema_says_so(self, app: FastAPI) -> None:
        schema = app.openapi()
        assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
        assert schema["paths"]["/tasks"]["post"]["security"] == [{"HTTPBearer": []}]
        assert "security" not in schema["paths"]["/health/live"]["get"]

    async def test_a_websocket_is_refused_too(self, app: FastAPI) -> None:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        scope = {"type": "websocket", "path": "/", "headers": [], "client": ("127.0.0.1", 1)}
        await app(scope, receive, send)
        assert [message["type"] for message in sent] == ["websocket.close"]


class TestWithoutTokens:
    """This machine alone, even if somebody serves the app with another server."""

    @pytest.fixture
    def app(self, unconnected: Settings, registry: Registry) -> FastAPI:
        return api_of(unconnected, registry)

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
    async def test_this_machine_is_let_in(self, app: FastAPI, address: str) -> None:
        async with calling(app, address) as http:
            assert (await http.get("/openapi.json")).status_code == 200

    @pytest.mark.parametrize(
        "address",
        ["203.0.113.7", "10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "unix", "", None],
    )
    async def test_other_machines_are_refused(self, app: FastAPI, address: str | None) -> None:
        async with calling(app, address) as http:
            found = assert_problem(await http.get("/openapi.json"), 403)
            assert "WORKER_API_TOKENS" in found["detail"]
            assert (await http.get("/health/live")).status_code == 200

    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:80", 200), ("[::1]:8000", 200),
            ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example", 403),
            ("localhost@evil.example", 403), ("evil.example:127.0.0.1", 403), ("10.0.0.1", 403),
            ("", 403), ("[::1", 403), ("2130706433", 403),
        ],
    )  # fmt: skip
    async def test_only_a_loopback_host_is_let_in(
        self, app: FastAPI, host: str, status: int
    ) -> None:
        """Against a page under a name that resolves to 127.0.0.1 (DNS rebinding)."""
        async with calling(app, headers={"host": host}) as http:
            assert (await http.get("/openapi.json")).status_code == status

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            ("http://localhost:3000", 200), ("http://127.0.0.1", 200), ("http://[::1]:80", 200),
            ("https://evil.example", 403), ("http://localhost.evil.example", 403), ("null", 403),
            ("", 403),
        ],
    )  # fmt: skip
    async def test_only_pages_of_this_machine_are_let_in(
        self, app: FastAPI, origin: str, status: int
    ) -> None:
        async with calling(app, headers={"origin": origin}) as http:
            assert (await http.get("/openapi.json")).status_code == status

    async def test_under_a_real_server_too(self, api: httpx.AsyncClient) -> None:
        assert (await api.get("/docs")).status_code == 200
        assert_problem(await api.get("/docs", headers={"host": "evil.example"}), 403)


class TestServersAway:
    async def test_without_postgres_it_answers_503(
        self,
        unconnected: Settings,
        redis_server: EmbeddedRedis,
        registry: Registry,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        update = {"redis_url": SecretStr(redis_server.url)}
        app = api_of(unconnected.model_copy(update=update), registry)
        async with serving(app) as http:
            answers = [
                await http.get("/users/1"),
                await http.post("/users", json={"username": "a", "email": "a@example.com"}),
                await http.get(f"/tasks/{uuid4()}"),
                await http.post("/tasks", json={"name": "math.fail"}),
            ]
            ready = await http.get("/health/ready")
            assert (await http.get("/health/live")).status_code == 200
        for response in [*answers, ready]:
            assert_problem(response, 503)
            assert int(response.headers["retry-after"]) > 0
        assert ready.json()["detail"] == "no answer from Postgres within 1 s"
        assert "hunter2" not in caplog.text

    async def test_without_redis_a_task_is_accepted(
        self, settings: Settings, registry: Registry, db: Database
    ) -> None:
        app = api_of(settings.model_copy(update={"redis_url": DEAD_REDIS}), registry)
        async with serving(app) as http:
            response = await http.post("/tasks", json={"name": "math.add", "args": {"a": 1}})
            assert response.status_code == 202
            assert (await http.get(response.headers["location"])).status_code == 200
            without_row = await http.post("/tasks", json={"name": "fire"})
            ready = assert_problem(await http.get("/health/ready"), 503)
        assert ready["detail"] == "no answer from Redis within 1 s"
        assert_problem(without_row, 503)
        assert str(await one(db, "SELECT id FROM task")) == response.json()["id"]

    async def test_with_both_it_is_ready(self, api: httpx.AsyncClient) -> None:
        for path in ("/health/live", "/health/ready"):
            response = await api.get(path)
            assert (response.status_code, response.json()) == (200, {"status": "ok"})

    async def test_it_recovers_with_postgres(
        self, unconnected: Settings, redis_server: EmbeddedRedis, registry: Registry
    ) -> None:
        user = {"username": "ann", "email": "ann@example.com"}
        with EmbeddedPostgres() as own:
            async with Database(own.url) as db:
                await migrations.upgrade(db)
                await AppMigrations("worker.migrations").upgrade(db)
            update = {
                "database_url": SecretStr(own.url), "redis_url": SecretStr(redis_server.url)
            }  # fmt: skip
            app = api_of(unconnected.model_copy(update=update), registry)
            async with serving(app) as http:
                assert (await http.post("/users", json=user)).status_code == 201
                own.kill9()
                assert_problem(await http.get("/users/1"), 503)
                own.start()
                assert (await http.get("/users/1")).json()["username"] == "ann"
                own.pause()
                async with asyncio.timeout(2.5):  # not the 3 s that giving up a connection takes
                    assert_problem(await http.get("/health/ready"), 503)
                own.resume()
                assert (await http.get("/health/ready")).status_code == 200


class TestComposition:
    async def test_nothing_connects_before_the_start(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        app = api_of(unconnected, registry)
        assert not hasattr(app.state, "db")

    async def test_without_a_database_url_there_is_no_app(self, registry: Registry) -> None:
        with pytest.raises(SettingsError, match="WORKER_DATABASE_URL is not set"):
            api_of(Settings(), registry)

    async def test_a_missing_task_module_is_named(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        with pytest.raises(SettingsError, match="cannot import not_there"):
            api_of(unconnected.model_copy(update={"task_modules": ("not_there",)}), registry)

    async def test_the_client_is_closed_with_the_app(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        app = api_of(unconnected, registry)
        async with app.router.lifespan_context(app):
            assert app.state.client.db is app.state.db
            engine = app.state.db.engine.sync_engine
            assert reader_of(engine) is app.state.client
        with pytest.raises(ClientClosed):
            reader_of(engine)


class TestServe:
    """`worker api`."""

    @pytest.mark.parametrize(
        ("host", "update", "error", "says"),
        [
            ("0.0.0.0", {}, SettingsError, "set WORKER_API_TOKENS"),
            ("::", {}, SettingsError, "set WORKER_API_TOKENS"),
            ("", {}, SettingsError, "set WORKER_API_TOKENS"),
            ("::1", {"task_modules": ("not_there",)}, SettingsError, "cannot import not_there"),
            ("::1", {}, ServerUnreachable, "Postgres at 127.0.0.1:1/none did not answer"),
        ],
    )
    async def test_it_refuses_to_start(
        self,
        unconnected: Settings,
        registry: Registry,
        host: str,
        update: dict[str, Any],
        error: type[Exception],
        says: str,
    ) -> None:
        changed = unconnected.model_copy(update={"connect_timeout": 0.1, **update})
        with pytest.raises(error) as refusal:
            await asyncio.to_thread(serve, changed, host, 8000, registry)
        assert says in str(refusal.value)
        assert "hunter2" not in str(refusal.value)

    async def test_it_refuses_to_start_without_tables_or_redis(
        self, settings: Settings, registry: Registry
    ) -> None:
        elsewhere = settings.model_copy(update={"database_schema": "elsewhere"})
        with pytest.raises(SchemaError, match="worker migrate"):
            await asyncio.to_thread(serve, elsewhere, "localhost", 8000, registry)
        away = settings.model_copy(update={"redis_url": DEAD_REDIS, "connect_timeout": 0.1})
        with pytest.raises(ServerUnreachable, match=r"Redis at 127\.0\.0\.1:1 did not answer"):
            await asyncio.to_thread(serve, away, "localhost", 8000, registry)

    async def test_it_refuses_a_busy_port_and_one_that_is_none(
        self, settings: Settings, registry: Registry
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            port = busy.getsockname()[1]
            with pytest.raises(SettingsError, match=f"port {port}: Address already in use"):
                await asyncio.to_thread(serve, settings, "127.0.0.1", port, registry)
        with pytest.raises(SettingsError, match="port 99999"):
            await asyncio.to_thread(serve, settings, "127.0.0.1", 99999, registry)

    @asynccontextmanager
    async def process(
        self, settings: Settings, host: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uow", "api", "--host", host, "--port", "0",
            env=environment_of(settings), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def test_as_a_process(self, settings: Settings) -> None:
        """Without tokens it exits with 1; with one it serves until it is told to stop."""
        with_token = settings.model_copy(
            update={"api_tokens": (SecretStr("alpha-token-of-the-api"),)}
        )
        async with (
            self.process(settings, "0.0.0.0") as refused,
            self.process(with_token, "0.0.0.0") as serving,
        ):
            _, message = await asyncio.wait_for(refused.communicate(), 30)
            assert refused.returncode == 1
            assert b"WORKER_API_TOKENS" in message
            assert b"Traceback" not in message
            log = await self.talk_to(serving)
        assert b'"POST /tasks HTTP/1.1" 202' in log
        assert b"Traceback" not in log
        assert serving.returncode in (0, -signal.SIGTERM)

    async def talk_to(self, process: asyncio.subprocess.Process) -> bytes:
        """Use it and stop it; returns its log."""
        assert process.stderr is not None
        log = await asyncio.wait_for(process.stderr.readuntil(b"Application startup"), 30)
        port = re.search(rb"listening on http://0\.0\.0\.0:(\d+)", log)
        assert port is not None, log
        url = f"http://127.0.0.1:{int(port[1])}"
        async with httpx.AsyncClient(
            base_url=url, headers={"authorization": "Bearer alpha-token-of-the-api"}
        ) as http:
            assert (await http.get("/health/ready")).status_code == 200
            body = {"name": "users.send_welcome", "args": {"user_id": 1}}
            assert (await http.post("/tasks", json=body)).status_code == 202
        process.send_signal(signal.SIGTERM)
        _, rest = await asyncio.wait_for(process.communicate(), 30)
        return log + rest
