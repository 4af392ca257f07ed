"""`/users`, the routes of the application, under a real server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import pytest

from tests.integration.api.apps import api_of
from tests.integration.api.conftest import (
    DEAD_POSTGRES,
    DEAD_REDIS,
    assert_problem,
    assert_refused,
    calling,
    one,
)
from tests.servers import serving
from uow import Database, Settings, TaskContext, task
from uow.api.app import create_app
from uow.broker.redis import RedisClient
from uow.tasks.registry import Registry

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


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(api_of(settings)) as http:
        yield http


@pytest.fixture
def unconnected() -> Settings:
    """Settings for what must work, or be refused, before any server is asked."""
    return Settings(database_url=DEAD_POSTGRES, redis_url=DEAD_REDIS)


@pytest.fixture
async def refusing(unconnected: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API in which whatever passes the checks is a 503."""
    async with serving(api_of(unconnected)) as http:
        yield http


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

    async def test_no_body_is_a_server_error(self, refusing: httpx.AsyncClient) -> None:
        await assert_refused(refusing, "/users", BAD_USERS)

    async def test_methods_that_are_not_there_are_problems(
        self, refusing: httpx.AsyncClient
    ) -> None:
        for method, path in [("DELETE", "/users/1"), ("BREW", "/users")]:
            response = await refusing.request(method, path)
            assert_problem(response, 405)
            assert response.headers["allow"]

    async def test_without_postgres_it_answers_503(
        self, refusing: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        for response in (
            await refusing.get("/users/1"),
            await refusing.post("/users", json={"username": "a", "email": "a@example.com"}),
        ):
            assert_problem(response, 503)
            assert int(response.headers["retry-after"]) > 0
        assert "hunter2" not in caplog.text

    async def test_without_the_application_there_are_no_users(
        self, unconnected: Settings, registry: Registry
    ) -> None:
        @task("any", registry=registry)
        async def of_anybody(ctx: TaskContext) -> None: ...

        app = create_app(unconnected, registry)
        assert "User" not in app.openapi()["components"]["schemas"]
        async with calling(app) as http:
            assert_problem(await http.get("/users/1"), 404)

    async def test_the_response_model_is_called_user(self, unconnected: Settings) -> None:
        schema = api_of(unconnected).openapi()["components"]["schemas"]["User"]
        assert list(schema["properties"]) == [
            "id", "username", "email", "is_active", "created_at", "last_seen_at", "welcomed_at",
        ]  # fmt: skip
