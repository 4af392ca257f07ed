"""Without Postgres or Redis: what is answered, and what health says."""

import asyncio
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from tests.integration.api.apps import api_of
from tests.integration.api.conftest import DEAD_REDIS, assert_problem, one
from tests.servers import serving
from uow import Database, Settings
from uow.db import migrations
from uow.db.migrations.application import AppMigrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.tasks.registry import Registry


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
