"""A connection of ours does not ask what Postgres has told another one already."""

from collections.abc import Iterable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from uow import Database, Settings, TaskClient, TaskContext, task
from uow.db import built_in
from uow.tasks.registry import Registry

ARRAY_OF_UUID = 2951


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The types that the driver asks about, by the question."""
    questions: list[set[int]] = []
    ask = asyncpg.Connection._introspect_types

    async def noting(self: Any, types: Iterable[int], timeout: float | None) -> Any:
        questions.append({*types})
        return await ask(self, types, timeout)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", noting)
    monkeypatch.setattr(built_in, "_known", {})
    return questions


async def test_enqueueing_asks_once_in_a_process_about_types_and_about_none_of_ours(
    settings: Settings, db: Database, registry: Registry, asked: list[set[int]]
) -> None:
    @task("typed", registry=registry)
    async def typed(ctx: TaskContext, number: int) -> None: ...

    handles = []
    for _ in range(3):
        async with TaskClient.from_settings(settings) as client:  # with connections of its own
            handles.append(await client.enqueue(typed, 1))
    assert asked == [{ARRAY_OF_UUID}]
    found = await db.execute_once(text("SELECT count(*) FROM task"), {})
    assert found.scalar_one() == len(handles)


async def test_types_of_users_are_asked_about_on_each_connection(
    db: Database, asked: list[set[int]]
) -> None:
    await db.execute_once(text("CREATE TYPE mood AS ENUM ('fine')"), {})
    for _ in range(2):
        await db.dispose()
        async with db.engine.connect() as connection:
            found = await connection.scalar(text("SELECT ARRAY[CAST('fine' AS mood)]"))
        assert found == ["fine"]
    assert len(asked) == 2
