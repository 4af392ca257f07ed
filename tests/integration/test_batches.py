"""A batch of attempts: each leaves its place beside a suspect, whatever becomes of it."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.integration.test_completers import PUT, House, Told
from uow import Database, Settings, TaskContext, task
from uow.attempt.delivery import Delivery
from uow.attempt.running import Held
from uow.broker.redis import RedisClient
from uow.fast.batches import Batches, Delivered
from uow.tasks.registry import Registry


class Engine(Told):
    """Runs what is spawned."""

    async def ended(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def __init__(self, house: House) -> None:
        super().__init__()
        self.ctx = {"settings": house.runtime.settings}
        self.tasks: list[asyncio.Task[None]] = []

    def spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        held.runs = asyncio.create_task(work)
        self.tasks.append(held.runs)


@pytest.fixture
async def house(db: Database, redis: RedisClient, settings: Settings, registry: Registry) -> House:
    @task("returns", registry=registry)
    async def returns(ctx: TaskContext) -> str:
        return "done"

    return House(db, redis, settings, registry)


async def delivered(house: House, enqueued_ms: int = 0) -> Delivered:
    id_ = uuid4()
    await house.db.execute_once(PUT, {"id": id_, "name": "returns"})
    held = Held(str(id_), "arq:queue", 0, b"payload", id_)
    return Delivered(held, Delivery("returns", str(id_), id_, (), {}, 0, enqueued_ms, 1), id_)


async def state_of(house: House, one: Delivered) -> str:
    found = await house.db.execute_once(
        text("SELECT state FROM task WHERE id = :id"), {"id": one.row_id}
    )
    return str(found.scalar_one())


async def nobody_is_inside(house: House) -> bool:
    """Whether a suspect could be alone."""
    with house.runtime.solo.entered():
        async with house.runtime.solo.alone(0.05):
            return True


async def test_all_leave_when_they_have_ended(house: House) -> None:
    engine = Engine(house)
    batches = Batches(engine, house.runtime, None)
    batch = [await delivered(house) for _ in range(3)]
    await batches.start(batch)
    await engine.ended()
    assert await nobody_is_inside(house)
    await batches.completer.commits.run_once()
    assert [await state_of(house, one) for one in batch] == ["succeeded"] * 3


async def test_one_whose_context_cannot_be_made_leaves_and_goes_back(house: House) -> None:
    engine = Engine(house)
    batches = Batches(engine, house.runtime, None)
    await batches.start([await delivered(house, enqueued_ms=10**18)])
    await engine.ended()
    assert [one.action for one in engine.finished] == ["again"]
    assert await nobody_is_inside(house)


async def test_one_that_is_cancelled_before_its_first_step_leaves(house: House) -> None:
    engine = Engine(house)
    await Batches(engine, house.runtime, None).start([await delivered(house)])
    (running,) = engine.tasks
    running.cancel()
    await engine.ended()
    assert await nobody_is_inside(house)


async def test_one_that_has_touched_the_database_is_not_left_to_the_group(
    house: House, registry: Registry
) -> None:
    @task("swallows", registry=registry)
    async def swallows(ctx: TaskContext) -> str:
        try:
            async with ctx["db"].get_session() as session:
                await session.execute(text("SELECT 1 / 0"))
        except Exception:
            return "done"
        raise AssertionError("it has not failed")

    engine = Engine(house)
    batches = Batches(engine, house.runtime, None)
    one = await delivered(house)
    await house.db.execute_once(
        text("UPDATE task SET name = 'swallows' WHERE id = :id"), {"id": one.row_id}
    )
    await batches.start([one])
    await engine.ended()
    assert len(batches.completer.commits) == 0
    assert await state_of(house, one) == "succeeded"
    assert [one.action for one in engine.finished] == ["settled"]
