"""What travels with a task and what is told of it, when it is asked for without asyncio."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

import uow.sync
from tests.conftest import Drain
from tests.hooks import hooks_as_they_are
from uow import Database, Enqueuing, Settings, TaskContext, on_enqueue, task
from uow.events import TaskEnqueued, TaskSettled
from uow.events.spine import Spine
from uow.tasks.registry import Registry, default_registry


@pytest.fixture(autouse=True)
def _no_hooks_stay() -> Iterator[None]:
    with hooks_as_they_are():
        yield


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    heard: list[Any] = []
    spine = Spine()
    spine.listen(heard.append, TaskEnqueued, TaskSettled)
    monkeypatch.setattr(default_registry, "events", spine)
    return heard


async def test_headers_reach_the_function_whoever_writes_the_row(
    told: list[Any], engine: Engine, sync_client: uow.sync.TaskClient, registry: Registry,
    drain: Drain, db: Database,
) -> None:  # fmt: skip
    seen: list[dict[str, str]] = []

    @task("look", registry=registry)
    async def look(ctx: TaskContext) -> None:
        seen.append(dict(ctx["task"].headers))

    @on_enqueue
    def hook(_: Enqueuing) -> dict[str, str]:
        return {"hook": "1"}

    given = look.options(headers={"tenant": "größe"})
    sync_client.enqueue(given)
    with Session(engine) as session, session.begin():
        uow.sync.enqueue(session, given)
    with engine.begin() as connection:
        cursor = connection.connection.cursor()
        uow.sync.enqueue_with_cursor(cursor, given)
    await drain()
    assert seen == [{"hook": "1", "tenant": "größe"}] * 3


def test_it_is_told_when_it_is_committed(
    told: list[Any], settings: Settings, driver_name: str, registry: Registry
) -> None:
    @task("any", registry=registry)
    async def any_task(ctx: TaskContext) -> None: ...

    @task("rowless", durable=False, registry=registry)
    async def rowless(ctx: TaskContext) -> None: ...

    with uow.sync.TaskClient.from_settings(settings) as client:
        handle = client.enqueue(any_task.options(user_id=7))
        client.enqueue(rowless)
        assert client.cancel(handle.id)
    enqueued, in_redis, settled = told
    assert (enqueued.id, enqueued.user_id, enqueued.name) == (handle.id, "7", "any")
    assert (in_redis.id, in_redis.name) == (None, "rowless")
    assert (settled.id, settled.state) == (handle.id, "cancelled")


def test_a_session_tells_after_its_commit_and_not_before(
    told: list[Any], engine: Engine, settings: Settings, registry: Registry
) -> None:
    @task("any", registry=registry)
    async def any_task(ctx: TaskContext) -> None: ...

    with uow.sync.TaskClient.from_settings(settings, engine=engine), Session(engine) as session:
        uow.sync.enqueue(session, any_task)
        assert told == []
        session.commit()
        uow.sync.enqueue(session, any_task)
        session.rollback()
    assert [type(event) for event in told] == [TaskEnqueued]
