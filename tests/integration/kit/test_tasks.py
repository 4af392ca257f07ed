"""The level of the test's own transaction: looking, running, draining, time."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from tests.integration.kit import shop
from tests.integration.kit.shop import Order, Payment
from uow import (
    Cancel,
    Database,
    InvalidArguments,
    SchemaError,
    Snooze,
    TaskCancelled,
    TaskClient,
    TaskContext,
    TaskRef,
    TaskState,
    cron,
    task,
)
from uow.tasks.registry import Registry
from uow.testing import NotRolledBack, Tasks, TransactionLost

COUNT = text("SELECT count(*) FROM payments")


async def new_order(session: AsyncSession) -> Order:
    order = Order()
    session.add(order)
    await session.flush()
    return order


# -- looking ---------------------------------------------------------------------------------------


async def test_what_is_not_committed_counts_as_enqueued(
    session: AsyncSession, tasks: Tasks
) -> None:
    await shop.send_mail.enqueue(session, to="a@b.c", subject="hi")
    found = tasks.assert_enqueued(shop.send_mail, to="a@b.c")
    assert found.arguments == {"to": "a@b.c", "subject": "hi"}
    tasks.assert_enqueued("mail.send", subject="hi")
    tasks.refute_enqueued(shop.send_mail, to="x@y.z")
    tasks.refute_enqueued(shop.confirm)


async def test_what_a_savepoint_has_undone_is_not_enqueued(
    session: AsyncSession, tasks: Tasks
) -> None:
    async with session.begin_nested() as savepoint:
        await shop.send_mail.enqueue(session, to="a@b.c")
        tasks.assert_enqueued(shop.send_mail)
        await savepoint.rollback()
    tasks.refute_enqueued(shop.send_mail)
    await shop.send_mail.enqueue(session, to="a@b.c")
    await session.rollback()
    tasks.refute_enqueued(shop.send_mail)


async def test_rows_by_raw_sql_and_by_a_trigger_count(session: AsyncSession, tasks: Tasks) -> None:
    await session.execute(text("INSERT INTO worker.task (name) VALUES ('raw')"))
    tasks.assert_enqueued("raw")
    await session.execute(
        text("""CREATE FUNCTION asked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO worker.task (name) VALUES ('by.trigger'); RETURN NEW; END $$""")
    )
    await session.execute(
        text("CREATE TRIGGER t AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION asked()")
    )
    await new_order(session)
    tasks.assert_enqueued("by.trigger")


async def test_options_are_compared_when_they_are_given(
    session: AsyncSession, tasks: Tasks
) -> None:
    await shop.send_mail.options(queue="mails", user_id=7).enqueue(session, to="a@b.c")
    tasks.assert_enqueued(shop.send_mail.options(queue="mails"), to="a@b.c")
    tasks.refute_enqueued(shop.send_mail.options(queue="others"))
    tasks.refute_enqueued(TaskRef("mail.send").options(user_id=8))


async def test_what_was_enqueued_instead_is_shown(session: AsyncSession, tasks: Tasks) -> None:
    with pytest.raises(AssertionError, match="no task was, in this test"):
        tasks.assert_enqueued(shop.confirm, order_id=1)
    await shop.confirm.enqueue(session, order_id=2)
    await shop.send_mail.enqueue(session, to="a@b.c")
    with pytest.raises(AssertionError) as failed:
        tasks.assert_enqueued(shop.confirm, order_id=1)
    assert str(failed.value).splitlines() == [
        "orders.confirm(order_id=1) was not enqueued; what was:",
        "  orders.confirm(order_id=2) is queued; order_id: 2 and not 1",
        "  mail.send(to='a@b.c') is queued",
    ]
    with pytest.raises(AssertionError) as refuted:
        tasks.refute_enqueued(shop.confirm)
    assert str(refuted.value).splitlines() == [
        "orders.confirm() was enqueued:",
        "  orders.confirm(order_id=2) is queued",
    ]


async def test_tasks_of_others_in_the_same_database_are_neither_seen_nor_run(
    engine: AsyncEngine, session: AsyncSession, tasks: Tasks
) -> None:
    async with engine.begin() as another:
        await another.execute(text("INSERT INTO worker.task (name) VALUES ('mail.send')"))
    await shop.confirm.enqueue(session, order_id=1)
    tasks.refute_enqueued(shop.send_mail)
    ran = await tasks.drain()
    assert [one.task.name for one in ran] == ["orders.confirm", "mail.send"]
    async with engine.connect() as another:
        others = await another.execute(text("SELECT state FROM worker.task"))
        assert others.scalars().all() == ["queued"]  # nor is it locked


async def test_nothing_of_a_test_is_there_afterwards(
    engine: AsyncEngine, tasks_options: dict[str, Any]
) -> None:
    async with engine.connect() as connection:
        outermost = await connection.begin()
        async with (
            AsyncSession(connection, join_transaction_mode="create_savepoint") as session,
            Tasks(session, **tasks_options) as tasks,
        ):
            await new_order(session)
            await tasks.run(shop.confirm, order_id=1)
            await session.commit()
        await outermost.rollback()
        for table in ("orders", "payments", "worker.task"):
            assert await connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0


@pytest.mark.parametrize("how", ["engine", "no transaction", "another mode", "connection"])
async def test_a_session_that_would_commit_is_refused(how: str, engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        session: Any
        match how:
            case "engine":
                session = AsyncSession(engine)
            case "no transaction":
                session = AsyncSession(connection, join_transaction_mode="create_savepoint")
            case "another mode":
                await connection.begin()
                session = AsyncSession(connection)
            case _:
                session = connection
        with pytest.raises(NotRolledBack, match="create_savepoint"):
            Tasks(session)


# -- running ---------------------------------------------------------------------------------------


async def test_the_one_that_was_enqueued_is_run_and_not_another_one(
    session: AsyncSession, tasks: Tasks
) -> None:
    await shop.confirm.options(delay=3600).enqueue(session, order_id=1)
    assert await tasks.run(shop.confirm, order_id=1) == "confirmed"
    assert [one.state for one in tasks.enqueued(shop.confirm)] == [TaskState.SUCCEEDED]
    await tasks.run(shop.confirm, order_id=2)
    assert len(tasks.enqueued(shop.confirm)) == 2
    assert await tasks.run("orders.confirm", order_id=3) == "confirmed"


async def test_objects_of_the_session_show_what_the_task_has_done(
    session: AsyncSession, tasks: Tasks
) -> None:
    order = await new_order(session)
    order.state = "unwritten"
    await tasks.run(shop.confirm, order_id=order.id)
    assert order.state == "confirmed"


async def test_what_the_session_has_not_yet_written_is_there_for_the_task(
    session: AsyncSession, tasks: Tasks
) -> None:
    @task("counts", registry=shop.registry)
    async def counts(ctx: TaskContext) -> int:
        async with ctx["db"].get_session() as inner:
            return await inner.scalar(text("SELECT count(*) FROM orders")) or 0

    await counts.enqueue(session)
    session.add(Order())
    assert await tasks.run(counts) == 1


async def test_arguments_are_checked_as_in_reality(tasks: Tasks) -> None:
    with pytest.raises(InvalidArguments):
        await tasks.run(shop.confirm, order_id="no number")  # type: ignore[call-overload]


async def test_a_failure_is_raised_and_its_effects_are_undone(
    session: AsyncSession, tasks: Tasks
) -> None:
    order = await new_order(session)
    for state in (TaskState.RETRYING, TaskState.RETRYING, TaskState.FAILED):
        with pytest.raises(ValueError, match="no") as failed:
            await tasks.run(shop.fail, order_id=order.id)
        assert tasks.assert_enqueued(shop.fail).state is state
        assert len(failed.value.__notes__) == 1
    assert await session.scalar(COUNT) == 0
    assert tasks.assert_enqueued(shop.fail).tries == 3


async def test_snooze_and_cancel_are_raised(tasks: Tasks) -> None:
    with pytest.raises(Snooze):
        await tasks.run(shop.snooze)
    with pytest.raises(Cancel):
        await tasks.run(shop.cancel)
    assert tasks.assert_enqueued(shop.cancel).state is TaskState.CANCELLED


async def test_a_deferred_constraint_fails_the_attempt(session: AsyncSession, tasks: Tasks) -> None:
    with pytest.raises(IntegrityError, match="payments_order_id_fkey"):
        await tasks.run(shop.charge, order_id=404)
    assert await session.scalar(COUNT) == 0
    order = await new_order(session)
    await tasks.run(shop.charge, order_id=order.id)
    session.add(Payment(order_id=order.id + 1))  # deferred again: this test may still do it
    await session.flush()


async def test_a_timeout_in_the_middle_of_a_query_fails_the_test_and_says_so(tasks: Tasks) -> None:
    with pytest.raises(TransactionLost, match="cut off in the middle, by a timeout"):
        await tasks.run(shop.sleep)
    with pytest.raises(TransactionLost, match="embedded_tasks"):
        await tasks.drain()


async def test_what_is_said_beside_an_attempt_outlives_its_rollback(
    session: AsyncSession, tasks: Tasks
) -> None:
    registry = shop.registry

    @task("beside.reports", registry=registry, max_tries=1)
    async def reports(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as inner:
            inner.add(Order())
            await inner.flush()
            await ctx["task"].report(done=1)
            await tasks.client.enqueue(shop.send_mail, to="kept@example.com")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await tasks.run(reports)
    progress = await session.scalar(
        text("SELECT progress ->> 'done' FROM worker.task WHERE name = 'beside.reports'")
    )
    assert progress == "1"
    tasks.assert_enqueued(shop.send_mail, to="kept@example.com")
    assert await session.scalar(text("SELECT count(*) FROM orders")) == 0


@pytest.mark.parametrize("statement", ["COMMIT", "-- of mine\nCOMMIT", "/* of mine */ ;END"])
async def test_a_statement_that_ends_the_transaction_is_refused(
    session: AsyncSession, tasks: Tasks, statement: str
) -> None:
    @task("ends.by_hand", registry=shop.registry, max_tries=1)
    async def ends(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as inner:
            await inner.execute(text(statement))

    with pytest.raises(Exception, match="ended by a statement"):
        await tasks.run(ends)
    await new_order(session)


async def test_a_swallowed_error_aborts_the_attempt_alone(
    session: AsyncSession, tasks: Tasks
) -> None:
    @task("swallows", registry=shop.registry, max_tries=1)
    async def swallows(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as inner:
            with contextlib.suppress(Exception):
                await inner.execute(text("SELECT 1/0"))

    with pytest.raises(Exception, match="aborted by an earlier error.*division by zero"):
        await tasks.run(swallows)
    await new_order(session)


async def test_callbacks_are_called_after_the_commit_alone(
    session: AsyncSession, tasks: Tasks
) -> None:
    called: list[str] = []

    @task("calls", registry=shop.registry)
    async def calls(ctx: TaskContext, fails: bool) -> None:
        ctx["task"].on_commit(lambda: called.append("called"))
        if fails:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await tasks.run(calls, fails=True)
    assert called == []
    await tasks.run(calls, fails=False)
    assert called == ["called"]


async def test_a_role_and_a_search_path_end_with_the_attempt(
    session: AsyncSession, tasks: Tasks
) -> None:
    @task("sets", registry=shop.registry)
    async def sets(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as inner:
            await inner.execute(text("SET LOCAL search_path TO nowhere"))

    await session.execute(text("SET LOCAL search_path TO public, elsewhere"))
    await tasks.run(sets)
    assert await session.scalar(text("SHOW search_path")) == "public, elsewhere"


async def test_a_task_with_blocks_of_its_own_is_guarded(
    session: AsyncSession, tasks: Tasks
) -> None:
    order = await new_order(session)
    await tasks.run(shop.charge_in_blocks, order_id=order.id)
    assert order.state == "charged"
    assert await session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "0"


async def test_a_rowless_task_is_run_and_looked_for(tasks: Tasks) -> None:
    handle = await tasks.client.enqueue(shop.ping, order_id=1)
    tasks.assert_enqueued(shop.ping, order_id=1)
    assert await tasks.run(shop.ping, order_id=1) == "pinged 1"
    assert await handle.result() == "pinged 1"
    await tasks.client.enqueue(shop.ping, order_id=2)
    assert [one.task.arguments for one in await tasks.drain()] == [{"order_id": 2}]


async def test_a_handle_tells_its_result_and_never_waits(
    session: AsyncSession, tasks: Tasks
) -> None:
    handle = await shop.confirm.enqueue(session, order_id=1)
    with pytest.raises(AssertionError, match="nobody runs it"):
        await handle.result()
    await tasks.drain()
    assert await handle.result() == "confirmed"
    other = await shop.confirm.enqueue(session, order_id=2)
    assert await other.cancel()
    assert await other.status() is TaskState.CANCELLED


async def test_runs_at_once_come_one_after_the_other(session: AsyncSession, tasks: Tasks) -> None:
    orders = [await new_order(session) for _ in range(3)]
    await asyncio.gather(*(tasks.run(shop.charge, order_id=one.id) for one in orders))
    assert await session.scalar(COUNT) == 3


async def test_a_task_function_runs_no_tasks(tasks: Tasks) -> None:
    @task("nests", registry=shop.registry, max_tries=1)
    async def nests(ctx: TaskContext) -> None:
        await tasks.drain()

    with pytest.raises(RuntimeError, match="runs no tasks"):
        await tasks.run(nests)


async def test_more_is_in_ctx_when_it_is_given(
    session: AsyncSession, tasks_options: dict[str, Any]
) -> None:
    registry = Registry()

    @task("uses.http", registry=registry)
    async def uses(ctx: TaskContext) -> str:
        return str(ctx["http"])  # type: ignore[typeddict-item]

    options = {**tasks_options, "registry": registry, "context": {"http": "a fake"}}
    async with Tasks(session, **options) as tasks:
        assert await tasks.run(uses) == "a fake"


async def test_a_session_left_open_costs_the_attempt_and_not_the_test(
    session: AsyncSession, tasks: Tasks
) -> None:
    left: list[Any] = []

    @task("leaves.open", registry=shop.registry, max_tries=1)
    async def leaves(ctx: TaskContext) -> None:
        block = ctx["db"].get_session()
        left.append(block)
        inner = await block.__aenter__()
        await inner.execute(text("INSERT INTO orders DEFAULT VALUES"))

    with pytest.raises(Exception, match="still open"):
        await tasks.run(leaves)
    assert await session.scalar(text("SELECT count(*) FROM orders")) == 0


# -- draining --------------------------------------------------------------------------------------


async def test_drain_tries_again_until_it_has_failed_for_good(
    session: AsyncSession, tasks: Tasks
) -> None:
    order = await new_order(session)
    await shop.fail.enqueue(session, order_id=order.id)
    with pytest.raises(ValueError, match="no"):
        await tasks.drain()
    assert tasks.assert_enqueued(shop.fail).state is TaskState.FAILED
    assert await tasks.drain() == []
    await shop.fail.enqueue(session, order_id=order.id)
    assert len(await tasks.drain(raises=False)) == 3


async def test_travel_makes_more_due(session: AsyncSession, tasks: Tasks) -> None:
    await shop.send_mail.options(delay=7200).enqueue(session, to="later@b.c")
    await shop.snooze.enqueue(session)
    assert len(await tasks.drain()) == 1
    tasks.travel(minutes=90)
    assert "mail.send" not in [one.task.name for one in await tasks.drain()]
    tasks.travel(hours=1)
    assert "mail.send" in [one.task.name for one in await tasks.drain()]
    with pytest.raises(ValueError, match="go back"):
        tasks.travel(seconds=-1)


async def test_a_delay_counts_from_the_tests_own_time(session: AsyncSession, tasks: Tasks) -> None:
    polled: list[TaskState] = []

    @task("polls.hourly", registry=shop.registry)
    async def poll(ctx: TaskContext) -> None:
        polled.append(tasks.assert_enqueued(poll).state)
        raise Snooze(3600)

    await poll.enqueue(session)
    tasks.travel(hours=2, minutes=30)
    await tasks.drain()
    assert len(polled) == 3
    await shop.send_mail.options(delay=3600).enqueue(session, to="later@b.c")
    assert await tasks.drain() == []
    tasks.travel(minutes=59)
    await tasks.drain()
    assert len(polled) == 4
    assert not tasks.assert_enqueued(shop.send_mail).settled
    tasks.travel(minutes=2)
    assert "mail.send" in [one.task.name for one in await tasks.drain()]


async def test_schedules_tick_while_time_passes(tasks: Tasks) -> None:
    assert await tasks.drain() == []
    tasks.travel(hours=3)
    ran = await tasks.drain()
    assert [one.task.name for one in ran] == ["orders.tidy"] * 3
    assert await tasks.drain() == []


async def test_what_is_due_first_runs_first_and_before_it_the_more_urgent(
    session: AsyncSession, tasks: Tasks
) -> None:
    await shop.send_mail.options(delay=20).enqueue(session, to="3")
    await shop.send_mail.enqueue(session, to="2")
    await shop.send_mail.options(priority=9).enqueue(session, to="1")
    tasks.travel(seconds=30)
    assert [one.task.arguments["to"] for one in await tasks.drain()] == ["1", "2", "3"]


async def test_drain_ends_though_a_task_enqueues_itself(
    session: AsyncSession, tasks: Tasks
) -> None:
    await shop.again.enqueue(session)
    with pytest.raises(AssertionError, match="does a task enqueue itself.*orders.again"):
        await tasks.drain(at_most=5)


async def test_tasks_of_other_services_are_left_alone(session: AsyncSession, tasks: Tasks) -> None:
    await TaskRef("elsewhere.does_it").enqueue(session, what=1)
    assert await tasks.drain() == []
    tasks.assert_enqueued("elsewhere.does_it", what=1)
    with pytest.raises(AssertionError, match=r"elsewhere.does_it\(what=1\) was enqueued: no task"):
        tasks.assert_wired()
    tasks.assert_wired(other_services=("elsewhere.does_it",))


async def test_someone_who_settles_it_meanwhile_wins(session: AsyncSession, tasks: Tasks) -> None:
    handle = await shop.confirm.enqueue(session, order_id=1)

    @task("cancels.other", registry=shop.registry)
    async def cancels(ctx: TaskContext) -> None:
        await handle.cancel()

    await tasks.run(cancels)
    assert tasks.assert_enqueued(shop.confirm).state is TaskState.CANCELLED
    tasks.fail_next("the task is cancelled while it runs")
    with pytest.raises(TaskCancelled):
        await tasks.run(shop.confirm, order_id=2)


async def test_its_queue_is_its_own_whatever_other_clients_are_open(
    engine: AsyncEngine, session: AsyncSession, tasks_options: dict[str, Any]
) -> None:
    others = tasks_options["settings"].model_copy(update={"queue": "of-a-developer"})
    db = Database(engine.url)
    db.engine = engine
    async with TaskClient.from_settings(others, db=db):
        async with Tasks(session, **tasks_options) as tasks:
            await shop.send_mail.enqueue(session, to="a@b.c")
            queue = tasks.assert_enqueued(shop.send_mail).queue
        assert queue.startswith("arq:queue:test:")
        async with Tasks(session, **tasks_options) as tasks:
            await shop.send_mail.enqueue(session, to="a@b.c")
            assert tasks.enqueued()[-1].queue != queue
        handle = await shop.send_mail.enqueue(session, to="a@b.c")
        queue = await session.scalar(
            text("SELECT queue FROM worker.task WHERE id = :id"), {"id": handle.id}
        )
        assert queue == "of-a-developer"


async def test_its_database_and_client_serve_an_app_without_overrides(
    session: AsyncSession, tasks: Tasks
) -> None:
    app = shop.make_app()
    app.state.db, app.state.client = tasks.db, tasks.client
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/orders")
    tasks.assert_enqueued(shop.confirm, order_id=response.json()["id"])
    assert await session.get(Order, response.json()["id"]) is not None


async def test_a_database_without_our_tables_is_not_spoilt_by_looking(
    empty_database_url: str, tasks_options: dict[str, Any]
) -> None:
    engine = create_async_engine(empty_database_url)
    async with engine.connect() as connection:
        await connection.begin()
        session = AsyncSession(connection, join_transaction_mode="create_savepoint")
        async with session, Tasks(session, **tasks_options) as tasks:
            await session.execute(text("CREATE TABLE mine (n int)"))
            await session.execute(text("INSERT INTO mine VALUES (1)"))
            tasks.refute_enqueued(shop.confirm)
            assert await session.scalar(text("SELECT count(*) FROM mine")) == 1
            with pytest.raises(SchemaError, match="worker migrate"):
                await tasks.run(shop.confirm, order_id=1)
    await engine.dispose()


async def test_a_tick_that_waits_for_the_one_before_it_comes_after_it(
    session: AsyncSession, tasks_options: dict[str, Any]
) -> None:
    registry = Registry()

    @cron("@hourly", overlap="queue")
    @task("queues", registry=registry)
    async def queues(ctx: TaskContext) -> None: ...

    async with Tasks(session, **{**tasks_options, "registry": registry}) as tasks:
        tasks.travel(hours=3)
        ran = await tasks.drain()
    ticks = [one.task.run_at for one in ran]
    assert len(ticks) == 3
    assert ticks == sorted(ticks)
