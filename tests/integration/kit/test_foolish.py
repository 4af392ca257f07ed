"""What task functions and tests do that they should not, and what they may do all the same."""

import asyncio
import contextlib
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session

from tests.integration.kit import shop
from tests.integration.kit.shop import Order
from uow import App, SessionLeftOpen, TaskContext, task
from uow.testing import Tasks, TransactionLost

ORDERS = text("SELECT count(*) FROM orders")


async def test_a_task_that_ends_its_connection_fails_the_test(tasks: Tasks) -> None:
    @task("ends.connection", registry=shop.registry, max_tries=1)
    async def ends(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as inner:
            await inner.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(TransactionLost, match="or Postgres has ended it"):
        await tasks.run(ends)


async def test_what_a_task_leaves_running_costs_the_attempt_and_not_the_test(
    session: AsyncSession, tasks: Tasks
) -> None:
    left: list[asyncio.Task[None]] = []

    @task("leaves.running", registry=shop.registry, max_tries=1)
    async def leaves(ctx: TaskContext) -> None:
        has_begun = asyncio.Event()

        async def work() -> None:
            async with ctx["db"].get_session() as inner:
                await inner.execute(text("INSERT INTO orders DEFAULT VALUES"))
                has_begun.set()
                await asyncio.Event().wait()

        left.append(asyncio.create_task(work()))
        await has_begun.wait()

    with pytest.raises(SessionLeftOpen):
        await tasks.run(leaves)
    left[0].cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert await session.scalar(ORDERS) == 0


async def test_arguments_of_another_version_end_the_drain_and_say_so(
    session: AsyncSession, tasks: Tasks
) -> None:
    await session.execute(
        text("INSERT INTO worker.task (name, args) "
             "VALUES ('orders.confirm', json_build_object('x', 1))")
    )  # fmt: skip
    with pytest.raises(AssertionError, match=r"orders.confirm\(x=1\) waits for other code"):
        await tasks.drain()


async def test_savepoints_and_blocks_that_fail_undo_what_they_would(
    session: AsyncSession, tasks: Tasks
) -> None:
    @task("undoes", registry=shop.registry)
    async def undoes(ctx: TaskContext) -> int:
        async with ctx["db"].get_session() as inner:
            inner.add(Order())
            await inner.flush()
            with contextlib.suppress(ValueError):
                async with inner.begin_nested():
                    inner.add(Order())
                    await inner.flush()
                    raise ValueError
        with contextlib.suppress(ValueError):
            async with ctx["db"].get_session() as inner:
                inner.add(Order())
                await inner.flush()
                raise ValueError
        async with ctx["db"].get_session() as inner:
            inner.add(Order())
            await inner.flush()
            await inner.rollback()
            return await inner.scalar(ORDERS) or 0

    assert await tasks.run(undoes) == 1
    assert await session.scalar(ORDERS) == 1


async def test_the_test_may_commit_and_roll_back(session: AsyncSession, tasks: Tasks) -> None:
    await shop.confirm.enqueue(session, order_id=1)
    await session.commit()
    await session.rollback()
    tasks.assert_enqueued(shop.confirm)
    await session.connection()
    await tasks.drain()
    await session.rollback()  # and with it what the tasks have done
    tasks.refute_enqueued(shop.send_mail)
    assert len(await tasks.drain()) == 2


async def test_a_scoped_session_will_do(session: AsyncSession, tasks: Tasks) -> None:
    tasks.close()
    made: Any = lambda: session  # noqa: E731
    scoped: async_scoped_session[AsyncSession] = async_scoped_session(made, asyncio.current_task)
    async with Tasks(scoped, registry=shop.registry, app=App()) as others:
        assert await others.run(shop.confirm, order_id=1) == "confirmed"


async def test_a_unique_key_is_held_in_the_test(session: AsyncSession, tasks: Tasks) -> None:
    once = shop.send_mail.options(unique_key="once")
    first = await once.enqueue(session, to="a@b.c")
    again = await once.enqueue(session, to="a@b.c")
    by_client = await tasks.client.enqueue(once, to="a@b.c")
    assert {again.id, by_client.id} == {first.id}
    assert len(await tasks.drain()) == 1
