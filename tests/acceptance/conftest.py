import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from uow import Database, Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"task_modules": ("tests.acceptance.tasks",)})


@pytest.fixture(autouse=True)
async def effects(db: Database) -> Callable[[], Awaitable[list[str]]]:
    """What tasks have done: a table without any constraint, so that twice shows."""
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})

    async def applied() -> list[str]:
        found = await db.execute_once(text("SELECT what FROM effect ORDER BY what"), {})
        return list(found.scalars())

    return applied


async def wait_until(condition: Callable[[], Awaitable[bool]], timeout: float = 20.0) -> None:
    """Poll a condition in another process's state, with a deadline."""
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.02)
