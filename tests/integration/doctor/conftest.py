"""A fleet in which all is well, for tests to make something of it bad."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from uow import Database, Settings
from uow.broker.redis import RedisClient
from uow.db import fleet
from uow.questions.doctor.examination import examine
from uow.questions.doctor.finding import Finding
from uow.questions.doctor.visit import CodeHere
from uow.tasks.queue_owner import claim_queues, identify

LEADER = "host:1:a"

Say = Callable[..., Awaitable[None]]
Find = Callable[..., Awaitable[dict[str, Finding]]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With time enough between heartbeats that nobody gives."""
    return settings.model_copy(update={"lease_seconds": 600.0})


@pytest.fixture
def say(db: Database) -> Say:
    """Runs SQL as it is."""

    async def run(statement: str, **values: object) -> None:
        async with db.engine.begin() as connection:
            await connection.execute(text(statement), values)

    return run


@pytest.fixture
def find(settings: Settings) -> Find:
    """What the doctor finds, by id."""

    async def run(code: CodeHere | None = None, **changes: object) -> dict[str, Finding]:
        changed = settings.model_copy(update=changes)
        found, _ = await examine(changed, code or CodeHere(rowless=()))
        return {one.id: one for one in found}

    return run


@pytest.fixture
async def healthy(db: Database, redis: RedisClient, say: Say) -> None:
    """Two processes that say all that there is to say, one of which leads, and a queue of ours."""
    for column in ("host text", "version text", "lease_seconds float8", "lag float8"):
        await say(f"ALTER TABLE worker_process ADD COLUMN IF NOT EXISTS {column}")
    for name in (LEADER, "host:2:b"):
        await fleet.beat(db, name, app="worker", queues=["arq:queue"], running=[], leaving=False)
    await say("UPDATE worker_process SET version = '1', lease_seconds = 600, lag = 0.01")
    await fleet.lead(db, LEADER, 600.0)
    await claim_queues(redis, ["arq:queue"], await identify(db, "worker"))
