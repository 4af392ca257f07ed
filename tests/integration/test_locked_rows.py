"""A row that somebody holds locked: its task waits, and no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from tests.integration.test_attempts import drain_until_settled
from uow import Database, Settings, TaskClient, TaskContext, TaskState, task
from uow.attempt import start
from uow.tasks.registry import Registry


@asynccontextmanager
async def locked(db: Database, task_id: UUID) -> AsyncIterator[None]:
    async with db.engine.begin() as connection:
        await connection.execute(
            text("SELECT FROM task WHERE id = :id FOR UPDATE"), {"id": task_id}
        )
        yield


async def test_the_others_of_its_batch_start_at_once_and_it_when_it_is_free(
    client: TaskClient, registry: Registry, db: Database, settings: Settings, drain: Drain
) -> None:
    ran: list[int] = []
    others_ran = asyncio.Event()

    @task("note", registry=registry)
    async def note(ctx: TaskContext, number: int) -> None:
        ran.append(number)
        if len(ran) == 4:
            others_ran.set()

    handles = [await client.enqueue(note, number=number) for number in range(5)]
    await client.flush()
    async with locked(db, handles[2].id):
        draining = asyncio.create_task(drain())
        async with asyncio.timeout(0.8 * settings.start_limit):
            await others_ran.wait()
        assert sorted(ran) == [0, 1, 3, 4]
    await draining
    assert ran[4:] == [2]


async def test_a_start_that_waits_for_long_is_handed_back_and_postgres_is_not_away(
    client: TaskClient,
    registry: Registry,
    db: Database,
    drain: Drain,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handed_back = asyncio.Event()
    hand_back = start.hand_back

    def noted(delay: float) -> Exception:
        handed_back.set()
        return hand_back(0.0)

    monkeypatch.setattr(start, "hand_back", noted)
    monkeypatch.setattr(Settings, "start_limit", 0.5)

    @task("note", registry=registry)
    async def note(ctx: TaskContext) -> None: ...

    handle = await client.enqueue(note)
    await client.flush()
    async with locked(db, handle.id):
        draining = asyncio.create_task(drain())
        async with asyncio.timeout(10):
            await handed_back.wait()
    await draining
    view = await drain_until_settled(client, handle, drain)  # it is not due for a moment
    assert view.state is TaskState.SUCCEEDED
    assert view.tries == 0
    assert "Postgres is away" not in caplog.text
    assert f"task {handle.id} is handed back: Postgres answers" in caplog.text
