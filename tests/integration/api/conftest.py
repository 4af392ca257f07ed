"""The HTTP API, under a real server, with real servers behind it."""

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from tests.integration.api.apps import api_of
from tests.servers import serving
from uow import Database, Settings, TaskContext, task
from uow.tasks.registry import Registry

DEAD_POSTGRES = SecretStr("postgresql+asyncpg://user:hunter2@127.0.0.1:1/none")
DEAD_REDIS = SecretStr("redis://:hunter2@127.0.0.1:1/0")
MAX_PAYLOAD = 4096
JSON = {"content-type": "application/json"}

SQL_OR_TRACE = re.compile(r"hunter2|SELECT|INSERT|asyncpg|sqlalchemy|Traceback|127\.0\.0\.1:1\b")


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


async def assert_refused(api: httpx.AsyncClient, path: str, bodies: Iterable[bytes]) -> None:
    """None of the bodies is a server error; in each a %s stands for 3000 digits."""
    for body in bodies:
        content = body.replace(b"%s", b"9" * 3000)
        response = await api.post(path, content=content, headers=JSON)
        assert 400 <= response.status_code < 500, (body[:80], response.text)
        assert_problem(response, response.status_code)


async def one(db: Database, statement: str) -> Any:
    return (await db.execute_once(text(statement), {})).scalar_one()
