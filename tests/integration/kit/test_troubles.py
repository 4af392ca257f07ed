"""What can go wrong, on purpose; and `run_twice`."""

import contextlib
import sys
import unittest
from types import ModuleType
from typing import Any, get_args

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

import uow.testing
from tests.integration.kit import shop
from tests.integration.kit.shop import Order, Payment
from uow import InvalidSchedule, TaskCancelled, TaskContext, TaskRef, TaskState, cron, task
from uow.failpoints import POINTS
from uow.tasks.registry import Registry
from uow.testing import Crashed, Tasks, Trouble
from uow.testing.troubles import DEATHS

COUNT = text("SELECT count(*) FROM payments")


@pytest.fixture
async def order(session: AsyncSession) -> Order:
    order = Order()
    session.add(order)
    await session.flush()
    return order


# -- fail_next -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", DEATHS)
async def test_a_worker_that_dies_anywhere_leaves_the_effect_exactly_once(
    trouble: Trouble, session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    await shop.charge.enqueue(session, order_id=order.id)
    tasks.fail_next(trouble)
    with pytest.raises(Crashed, match=trouble):
        await tasks.run(shop.charge, order_id=order.id)
    await tasks.drain()
    assert tasks.assert_enqueued(shop.charge).state is TaskState.SUCCEEDED
    assert await session.scalar(COUNT) == 1


async def test_drain_goes_on_after_a_death(
    session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    await shop.charge.enqueue(session, order_id=order.id)
    tasks.fail_next("the worker dies when the function has returned")
    assert len(await tasks.drain()) == 2
    assert await session.scalar(COUNT) == 1


async def test_a_lost_answer_to_commit_is_read_back(
    session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    tasks.fail_next("the answer to COMMIT is lost")
    await tasks.run(shop.charge, order_id=order.id)
    assert tasks.assert_enqueued(shop.charge).state is TaskState.SUCCEEDED
    assert await session.scalar(COUNT) == 1


@pytest.mark.parametrize(
    "trouble", ["the connection is lost at the COMMIT", "the COMMIT meets a serialization failure"]
)
async def test_a_commit_that_fails_is_handed_back_without_a_try(
    trouble: Trouble, session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    tasks.fail_next(trouble)
    with pytest.raises(DBAPIError):
        await tasks.run(shop.charge, order_id=order.id)
    assert (found := tasks.assert_enqueued(shop.charge)).state is TaskState.QUEUED
    assert found.tries == 0
    assert await session.scalar(COUNT) == 0
    await tasks.drain()
    assert await session.scalar(COUNT) == 1


@pytest.mark.parametrize(
    ("trouble", "state"),
    [
        ("the task is cancelled while it runs", TaskState.CANCELLED),
        ("another attempt takes over while it runs", TaskState.SUCCEEDED),
    ],
)
async def test_what_somebody_else_decides_meanwhile_is_seen_by_the_guard(
    trouble: Trouble, state: TaskState, session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    tasks.fail_next(trouble)
    if state is TaskState.CANCELLED:
        with pytest.raises(TaskCancelled):
            await tasks.run(shop.charge, order_id=order.id)
        assert await session.scalar(COUNT) == 0
    else:  # whoever is first settles it
        await tasks.run(shop.charge, order_id=order.id)
        assert await session.scalar(COUNT) == 1
    assert tasks.assert_enqueued(shop.charge).state is state


async def test_a_failure_of_an_attempt_that_was_taken_over_is_not_written(
    tasks: Tasks, order: Order
) -> None:
    tasks.fail_next("another attempt takes over while it runs")
    with pytest.raises(TaskCancelled, match="taken over"):
        await tasks.run(shop.fail, order_id=order.id)
    assert tasks.assert_enqueued(shop.fail).tries == 0


async def test_a_name_that_is_none_is_told_with_the_nearest(tasks: Tasks) -> None:
    with pytest.raises(ValueError, match="did you mean 'the answer to COMMIT is lost'"):
        tasks.fail_next("the answer of COMMIT is lost")  # type: ignore[arg-type]
    tasks.fail_next("the answer to COMMIT is lost")
    with pytest.raises(ValueError, match="the next attempt already meets"):
        tasks.fail_next("the worker dies after the COMMIT")
    await tasks.run(shop.send_mail, to="a@b.c")


async def test_what_was_to_fail_and_never_ran_fails_the_test(
    session: AsyncSession, tasks_options: dict[str, Any]
) -> None:
    with pytest.raises(AssertionError, match="no attempt ran after it"):
        async with uow.testing.tasks(session, **tasks_options) as tasks:
            tasks.fail_next("the worker dies after the COMMIT")


def test_each_death_is_a_failpoint_of_the_product_and_a_name_that_fail_next_takes() -> None:
    assert {*DEATHS.values()} <= {*POINTS}
    assert {*DEATHS} <= {*get_args(Trouble)}


# -- run_twice -------------------------------------------------------------------------------------


async def test_an_atomic_task_is_as_if_it_had_run_once(
    session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    await shop.charge.enqueue(session, order_id=order.id)
    assert await tasks.run_twice(shop.charge) == [*DEATHS]  # with the arguments of the enqueued one
    assert await tasks.run_twice(shop.confirm, order_id=order.id) == [*DEATHS]
    assert await session.scalar(COUNT) == 0  # all of it is undone
    assert tasks.assert_enqueued(shop.charge).state is TaskState.QUEUED


async def test_blocks_that_repeat_are_found_without_being_told_where_to_look(
    tasks: Tasks, order: Order
) -> None:
    with pytest.raises(AssertionError) as found:
        await tasks.run_twice(shop.charge_in_blocks, order_id=order.id)
    said = str(found.value)
    assert (
        "the worker dies before block 2:\n    public.payments: 2, and 1 when it runs once" in said
    )
    assert "before block 1" not in said
    assert "after the COMMIT" not in said


async def test_a_function_that_swallows_everything_does_not_outlive_its_worker(
    session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    @task("swallows.death", registry=shop.registry, atomic=False)
    async def swallows(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as inner:
            inner.add(Payment(order_id=order.id))
        with contextlib.suppress(BaseException):
            async with ctx["db"].get_session() as inner:
                await inner.execute(text("SELECT 1"))

    with pytest.raises(AssertionError, match="before block 2:\n    public.payments: 2, and 1"):
        await tasks.run_twice(swallows)


async def test_what_happens_outside_of_postgres_is_compared_by_its_growth(
    session: AsyncSession, tasks: Tasks, order: Order
) -> None:
    charged: list[str] = []
    once: set[str] = set()

    @task("charges.outside", registry=shop.registry)
    async def charges(ctx: TaskContext) -> None:
        charged.append("a charge")

    @task("charges.once", registry=shop.registry)
    async def charges_once(ctx: TaskContext) -> None:
        once.add(ctx["task"].idempotency_key)

    with pytest.raises(AssertionError, match="the function has returned"):
        await tasks.run_twice(charges, effects=lambda: len(charged))
    await tasks.run_twice(charges_once, effects=lambda: {"charges": len(once)})

    async def rows() -> int:
        return await session.scalar(COUNT) or 0

    await tasks.run_twice(shop.charge, effects=rows, order_id=order.id)


async def test_what_is_outside_may_be_forgotten_before_each_run(tasks: Tasks) -> None:
    sent: set[str] = set()

    @task("sends.once", registry=shop.registry)
    async def sends(ctx: TaskContext) -> None:
        sent.add("the same key for ever")

    with pytest.raises(AssertionError):
        await tasks.run_twice(sends, effects=lambda: sent)
    await tasks.run_twice(sends, effects=lambda: sent, before=sent.clear)


async def test_a_rowless_task_meets_a_second_delivery(tasks: Tasks) -> None:
    pings: list[int] = []

    @task("pings", registry=shop.registry, durable=False)
    async def pinging(ctx: TaskContext) -> None:
        pings.append(1)

    with pytest.raises(AssertionError, match="delivered again"):
        await tasks.run_twice(pinging, effects=lambda: pings)
    tasks.refute_enqueued(pinging)


async def test_a_task_that_fails_by_itself_is_not_compared(tasks: Tasks, order: Order) -> None:
    with pytest.raises(ValueError, match="no"):
        await tasks.run_twice(shop.fail, order_id=order.id)


# -- assert_wired ----------------------------------------------------------------------------------


async def test_names_and_arguments_that_lead_nowhere_are_named(
    session: AsyncSession, tasks_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("shop_of_somebody")
    module.typo = TaskRef("mail.sned")
    monkeypatch.setitem(sys.modules, "shop_of_somebody", module)
    registry = Registry()

    @cron("@daily", arguments={"what": "no number"})
    @task("ticks", registry=registry)
    async def ticks(ctx: TaskContext, what: int) -> None: ...

    @task("mail.send", registry=registry)
    async def send(ctx: TaskContext, to: str) -> None: ...

    async with Tasks(session, **{**tasks_options, "registry": registry}) as tasks:
        await session.execute(
            text("INSERT INTO worker.task (name, args) VALUES ('mail.send', '{\"too\": 1}')")
        )
        with pytest.raises(AssertionError) as found:
            tasks.assert_wired()
        with pytest.raises(InvalidSchedule):
            await tasks.drain()
    said = str(found.value)
    assert "mail.send(too=1) was enqueued, and its arguments do not fit: mail.send: to" in said
    assert (
        "shop_of_somebody.typo: no task function is called mail.sned; did you mean mail.send?"
        in said
    )
    assert "schedule ticks(what=no number): ticks: what" in said


# -- unittest, without a fixture -------------------------------------------------------------------


async def test_it_works_under_unittest(engine: AsyncEngine, tasks_options: dict[str, Any]) -> None:
    url = engine.url

    class OrderTest(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self) -> None:
            own = create_async_engine(url)
            self.addAsyncCleanup(own.dispose)
            connection = await self.enterAsyncContext(own.connect())
            transaction = await connection.begin()
            self.addAsyncCleanup(transaction.rollback)
            self.session = await self.enterAsyncContext(
                AsyncSession(connection, join_transaction_mode="create_savepoint")
            )
            self.tasks = await self.enterAsyncContext(
                uow.testing.tasks(self.session, **tasks_options)
            )

        async def test_order(self) -> None:
            await shop.confirm.enqueue(self.session, order_id=1)
            self.tasks.assert_enqueued(shop.confirm, order_id=1)
            assert await self.tasks.run(shop.confirm, order_id=1) == "confirmed"

    import asyncio

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(OrderTest)
    result = await asyncio.to_thread(suite.run, unittest.TestResult())
    assert result is not None
    assert result.testsRun == 1
    assert result.errors == result.failures == []
