"""`f.enqueue_many(session, …)`: one statement, in the caller's transaction."""

import pytest
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncSession

from tests.conftest import Drain
from uow import Database, TaskClient, TaskContext, TaskRef, TaskState, task
from uow.broker.redis import RedisClient
from uow.db.models import Task
from uow.errors import InvalidArguments, InvalidOptions
from uow.tasks.registry import Registry

NUMBERS = [{"n": 1}, {"n": 2}, {"n": 3}]


@task("double", registry=Registry())
async def double(ctx: TaskContext, n: int) -> int:
    return 2 * n


@task("plain", durable=False, registry=Registry())
async def plain(ctx: TaskContext) -> None: ...


@pytest.fixture
def registry(registry: Registry) -> Registry:
    registry.add(double)
    return registry


async def stored(db: Database) -> list[Task]:
    async with db.get_session() as session:
        return list(await session.scalars(select(Task)))


async def test_each_element_becomes_a_task_and_its_handle_keeps_the_order(
    client: TaskClient, db: Database, drain: Drain
):
    async with db.get_session() as session:
        handles = await double.enqueue_many(session, NUMBERS)
    await drain()
    assert [await handle.result(5) for handle in handles] == [2, 4, 6]


async def test_many_tasks_are_pushed_after_the_commit_and_not_before(
    client: TaskClient, db: Database, redis: RedisClient
):
    async with db.get_session() as session:
        await double.enqueue_many(session, NUMBERS)
        await client.flush()
        assert await redis.zcard("arq:queue") == 0
    await client.flush()
    assert await redis.zcard("arq:queue") == 3


async def test_many_tasks_roll_back_with_the_callers_transaction(
    client: TaskClient, db: Database, redis: RedisClient
):
    async with db.get_session() as session:
        await double.enqueue_many(session, NUMBERS)
        await session.rollback()
    await client.flush()
    assert await stored(db) == []
    assert await redis.zcard("arq:queue") == 0


async def test_options_hold_for_each_of_many_tasks_written_with_one_statement(
    client: TaskClient, db: Database
):
    statements: list[str] = []
    event.listen(
        db.engine.sync_engine,
        "before_cursor_execute",
        lambda *arguments: statements.append(arguments[2]),
    )
    async with db.get_session() as session:
        await double.options(user_id=7, delay=3600).enqueue_many(session, NUMBERS)
    assert len(statements) == 1
    tasks = await stored(db)
    assert [(task.user_id, task.state) for task in tasks] == [("7", TaskState.SCHEDULED)] * 3


async def test_many_tasks_can_be_enqueued_by_name(client: TaskClient, db: Database):
    async with db.get_session() as session:
        await TaskRef("elsewhere").enqueue_many(session, [{"a": 1}, {"b": 2}])
    assert [(task.name, task.args) for task in await stored(db)] == [
        ("elsewhere", {"a": 1}),
        ("elsewhere", {"b": 2}),
    ]


async def test_no_elements_are_no_tasks():
    async with AsyncSession() as session:  # bound to nothing: a statement would fail
        assert await double.enqueue_many(session, []) == []


async def test_one_bad_element_and_nothing_is_written():
    async with AsyncSession() as session:
        with pytest.raises(InvalidArguments, match="double: n: "):
            await double.enqueue_many(session, [{"n": 1}, {"n": "two"}])


async def test_a_unique_key_is_for_one_task_not_for_many(client: TaskClient, db: Database):
    only = double.options(unique_key="only")
    async with db.get_session() as session:
        with pytest.raises(InvalidOptions, match="unique_key='only' allows one unsettled task"):
            await only.enqueue_many(session, NUMBERS)
        with pytest.raises(InvalidOptions, match="unique_key='only'"):
            await client.enqueue_many(only, NUMBERS)
        [first] = await only.enqueue_many(session, NUMBERS[:1])
        [again] = await only.enqueue_many(session, NUMBERS[:1])
    assert (first.created, again.created) == (True, False)
    assert again.id == first.id


async def test_a_task_without_a_row_cannot_be_written_in_a_transaction():
    async with AsyncSession() as session:
        with pytest.raises(InvalidOptions, match="durable=False"):
            await plain.enqueue_many(session, [{}])
