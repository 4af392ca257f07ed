"""A user's own fixtures: a database, a session in a transaction that is rolled back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from tests.integration.kit import shop
from uow import App, Settings


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        for statement in shop.CREATE:
            await connection.execute(text(statement))
    yield engine
    await engine.dispose()


@pytest.fixture
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    async with engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        ) as session:
            yield session
        await transaction.rollback()


@pytest.fixture
def tasks_options() -> dict[str, Any]:
    nowhere = SecretStr("postgresql+asyncpg://nobody@localhost:1/nothing")
    return {"app": App(), "registry": shop.registry, "settings": Settings(database_url=nowhere)}
