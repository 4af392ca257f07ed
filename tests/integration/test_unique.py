"""Unique keys: at most one unsettled task, or one that has not started yet."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.util import await_only

from tests.conftest import Drain
from uow import Database, TaskClient, TaskContext, TaskFunction, task
from uow.errors import InvalidOptions
from uow.tasks.handle import TaskHandle
from uow.tasks.options import Unique
from uow.tasks.registry import Registry

MODES: tuple[Unique, ...] = ("unsettled", "waiting")


@pytest.fixture
def double(registry: Registry) -> TaskFunction[..., int]:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return double


async def rows(db: Database) -> int:
    return int((await db.execute_once(text("SELECT count(*) FROM task"), {})).scalar_one())


@pytest.mark.parametrize("unique", MODES)
async def test_a_hundred_concurrent_enqueues_in_transactions_of_their_own_make_one_task(
    db: Database, client: TaskClient, double: TaskFunction[..., int], unique: Unique
) -> None:
    once = double.options(unique_key="the one", unique=unique)
    handles = await asyncio.gather(*(client.enqueue(once, n=1) for _ in range(100)))
    assert len({handle.id for handle in handles}) == 1
    assert [handle.created for handle in handles].count(True) == 1
    assert await rows(db) == 1


@pytest.mark.parametrize("unique", MODES)
async def test_a_hundred_concurrent_enqueues_in_the_callers_sessions_make_one_task(
    db: Database, client: TaskClient, double: TaskFunction[..., int], unique: Unique
) -> None:
    once = double.options(unique_key="the one", unique=unique)

    async def in_a_session(n: int) -> TaskHandle[int]:
        async with db.get_session() as session:
            await session.execute(text("SELECT 1"))
            return await once.enqueue(session, n=n)

    handles = await asyncio.gather(*(in_a_session(n) for n in range(100)))
    assert len({handle.id for handle in handles}) == 1
    assert [handle.created for handle in handles].count(True) == 1
    assert await rows(db) == 1


@pytest.mark.parametrize("unique", MODES)
async def test_a_request_before_the_start_gets_the_task_that_waits(
    client: TaskClient, double: TaskFunction[..., int], unique: Unique
) -> None:
    once = double.options(unique_key="the one", unique=unique)
    first = await client.enqueue(once, n=1)
    second = await client.enqueue(once, n=2)
    assert (first.created, second.created) == (True, False)
    assert second.id == first.id


@pytest.mark.parametrize(("unique", "tasks"), [("unsettled", 1), ("waiting", 2)])
async def test_a_request_during_a_run_is_swallowed_only_by_a_key_held_until_settled(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, unique: Unique, tasks: int
) -> None:
    more: list[TaskHandle[Any]] = []

    @task("rebuild", registry=registry)
    async def rebuild(ctx: TaskContext) -> None:
        if not more:  # in one transaction: the second is not started before the third is asked for
            async with client.db.get_session() as session:
                more.extend([await once.enqueue(session), await once.enqueue(session)])

    once = rebuild.options(unique_key="the one", unique=unique)
    first = await client.enqueue(once)
    await drain()
    second, third = more
    assert second.created == (unique == "waiting")
    assert not third.created
    assert third.id == second.id
    assert len({first.id, second.id}) == tasks == await rows(db)
    await asyncio.gather(first.result(10), second.result(10))


async def test_a_task_that_is_retried_does_not_hold_its_waiting_key_again(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    from uow import Backoff

    @task("fails", backoff=Backoff(base=60), registry=registry)
    async def fails(ctx: TaskContext) -> None:
        raise ValueError

    once = fails.options(unique_key="the one", unique="waiting")
    first = await client.enqueue(once)
    await drain()
    assert (await first.status()) == "retrying"
    assert (await client.enqueue(once)).created


async def test_the_two_kinds_of_key_do_not_see_each_other(
    db: Database, client: TaskClient, double: TaskFunction[..., int]
) -> None:
    for unique in MODES:
        assert (await client.enqueue(double.options(unique_key="k", unique=unique), n=1)).created
    assert await rows(db) == 2


@pytest.mark.parametrize("unique", MODES)
async def test_a_holder_that_is_settled_between_insert_and_look_makes_the_insert_repeat(
    db: Database, client: TaskClient, double: TaskFunction[..., int], unique: Unique
) -> None:
    once = double.options(unique_key="the one", unique=unique)
    first = await client.enqueue(once, n=1)

    def between(*about: Any) -> None:
        if about[2].lstrip().startswith("SELECT id"):
            assert await_only(first.cancel())

    event.listen(db.engine.sync_engine, "before_cursor_execute", between)
    async with AsyncSession(db.engine) as session, session.begin():
        second = await once.enqueue(session, n=2)
    assert second.created
    assert second.id != first.id
    assert await rows(db) == 2


@pytest.mark.parametrize("commits", [True, False])
async def test_an_insert_waits_for_the_transaction_that_holds_its_key(
    db: Database, client: TaskClient, double: TaskFunction[..., int], commits: bool
) -> None:
    once = double.options(unique_key="the one")
    async with db.sessions() as session:
        first = await once.enqueue(session, n=1)
        waiting = asyncio.create_task(client.enqueue(once, n=2))
        await until_somebody_waits(db)
        await (session.commit() if commits else session.rollback())
    second = await waiting
    assert second.created == (not commits)
    assert (second.id == first.id) == commits


async def until_somebody_waits(db: Database) -> None:
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
    while not (await db.execute_once(waits, {})).scalar_one():
        pass


async def test_a_unique_mode_without_a_key_or_of_an_unknown_name_is_refused(
    double: TaskFunction[..., int],
) -> None:
    with pytest.raises(InvalidOptions, match="but there is none"):
        double.options(unique="waiting")
    with pytest.raises(InvalidOptions, match="neither 'unsettled' nor 'waiting'"):
        double.options(unique_key="k", unique="always")  # type: ignore[arg-type]
