"""The level of throwaway servers: real commits, a `TestClient`, sync tests."""

import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from tests.integration.kit import shop
from uow import App, Database, Settings, TaskClient, TaskState
from uow.testing import Crashed, EmbeddedTasks, EmbeddedTasksSync, NotAvailable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Starlette's, about the name of httpx's next version
    from fastapi.testclient import TestClient


@pytest.fixture(scope="session")
def embedded_prepare() -> Any:
    def create(url: str) -> None:
        engine = create_engine(url.replace("+asyncpg", "+psycopg"))
        with engine.begin() as connection:
            for statement in shop.CREATE:
                connection.execute(text(statement))
        engine.dispose()

    return create


@pytest.fixture
def tasks_options() -> dict[str, Any]:
    return {"app": App(), "registry": shop.registry}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with (
        Database.from_settings() as app.state.db,
        TaskClient.from_settings(db=app.state.db) as app.state.client,
    ):
        yield


class TestOfAnAppWhoseSettingsTheCodeHasMade:
    @pytest.fixture(scope="session")
    @classmethod
    def embedded_app(cls) -> App:
        real = SecretStr("postgresql+asyncpg://nobody@localhost:1/real")
        return App(settings=Settings(database_url=real, queue="code"))

    def test_they_lead_to_the_throwaway_servers(
        self, embedded_settings: Settings, embedded_database_url: str
    ) -> None:
        assert embedded_settings.require_database().url == embedded_database_url
        assert embedded_settings.queue == "code"

    async def test_so_does_whatever_the_app_is_told_to_do(
        self, embedded_tasks: EmbeddedTasks, embedded_app: App
    ) -> None:
        async with embedded_app.client() as client:  # as `app.api()`, by the app's settings
            await client.enqueue(shop.send_mail, to="a@b.c")
        embedded_tasks.assert_enqueued(shop.send_mail, to="a@b.c")

    def test_they_are_its_own_again_afterwards(self, embedded_app: App) -> None:
        assert "nobody@localhost:1" in embedded_app.load_settings().require_database().url


def test_a_test_client_and_its_lifespan(embedded_tasks_sync: EmbeddedTasksSync) -> None:
    app = shop.make_app()
    app.router.lifespan_context = lifespan
    with TestClient(app) as client:
        assert client.post("/orders").status_code == 201
        embedded_tasks_sync.assert_enqueued(shop.confirm, order_id=1)
        assert embedded_tasks_sync.run(shop.confirm, order_id=1) == "confirmed"
        embedded_tasks_sync.drain()
    embedded_tasks_sync.assert_enqueued(shop.send_mail)
    with pytest.raises(AssertionError, match="was not enqueued; what was"):
        embedded_tasks_sync.assert_enqueued(shop.charge)


def test_what_a_sync_session_writes(
    embedded_tasks_sync: EmbeddedTasksSync, embedded_database_url: str
) -> None:
    engine = create_engine(embedded_database_url.replace("+asyncpg", "+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders DEFAULT VALUES"))
        connection.execute(
            text("INSERT INTO worker.task (name, args) VALUES ('orders.charge', :args)"),
            {"args": '{"order_id": 1}'},
        )
    embedded_tasks_sync.run(shop.charge, order_id=1)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM payments")) == 1
    engine.dispose()


async def test_everything_is_committed_and_nothing_is_left_for_the_next_test(
    embedded_tasks: EmbeddedTasks, embedded_settings: Settings
) -> None:
    async with Database.from_settings(embedded_settings.require_database()) as db:
        async with db.get_session() as session:
            assert await session.scalar(text("SELECT count(*) FROM orders")) == 0
            await session.execute(text("INSERT INTO orders DEFAULT VALUES"))
            await shop.charge.enqueue(session, order_id=1)
        await embedded_tasks.drain()
        async with db.get_session() as session:
            assert await session.scalar(text("SELECT count(*) FROM payments")) == 1


@pytest.mark.parametrize("time", [1, 2])
async def test_each_test_has_a_database_of_its_own(
    time: int, embedded_tasks: EmbeddedTasks
) -> None:
    assert embedded_tasks.enqueued() == []
    await embedded_tasks.run(shop.send_mail, to="a@b.c")


async def test_a_timeout_in_the_middle_of_a_query_is_a_failed_attempt_and_no_more(
    embedded_tasks: EmbeddedTasks,
) -> None:
    with pytest.raises(Exception, match="ran longer than 0.05 s"):
        await embedded_tasks.run(shop.sleep)
    assert embedded_tasks.assert_enqueued(shop.sleep).state is TaskState.RETRYING


async def test_time_failures_and_schedules_are_as_in_the_other_level(
    embedded_tasks: EmbeddedTasks, embedded_settings: Settings
) -> None:
    embedded_tasks.fail_next("the worker dies after the COMMIT")
    with pytest.raises(Crashed):
        await embedded_tasks.run(shop.send_mail, to="a@b.c")
    embedded_tasks.fail_next("the answer to COMMIT is lost")
    assert await embedded_tasks.run(shop.confirm, order_id=1) == "confirmed"
    await embedded_tasks.drain()
    embedded_tasks.travel(hours=2)
    ran = await embedded_tasks.drain()
    assert [one.task.name for one in ran] == ["orders.tidy"] * 2
    embedded_tasks.refute_enqueued(shop.charge)
    embedded_tasks.assert_wired()
    with pytest.raises(NotAvailable, match="use the fixture tasks"):
        embedded_tasks.run_twice(shop.charge)
