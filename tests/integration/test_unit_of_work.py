"""What `ctx["db"]` does inside a task."""

import asyncio
import gc
import weakref

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.conftest import Drain
from tests.contexts import id_of
from tests.pools import checked_out
from uow import (
    Backoff,
    Database,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskState,
    TransactionAborted,
    UnitOfWorkLost,
    task,
)
from uow.attempt.unit_of_work import UnitOfWork
from uow.db import interventions
from uow.db.direct import driver_of
from uow.db.failures import PASSING
from uow.errors import AttemptSuperseded, SessionAlreadyOpen, TransactionEnded
from uow.tasks.context import Sessions
from uow.tasks.registry import Registry

AT_ONCE = Backoff(base=0)


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    """With a table of somebody's own, that of the application's users."""
    return application_template


@pytest.fixture(autouse=True)
async def effects(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})


async def applied(db: Database) -> list[str]:
    found = await db.execute_once(text("SELECT what FROM effect ORDER BY what"), {})
    return list(found.scalars())


INSERT = text("INSERT INTO effect VALUES (:what)")


async def test_blocks_of_one_attempt_commit_together_with_the_result(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen_from_outside: list[list[str]] = []

    @task("two.blocks", registry=registry)
    async def two_blocks(ctx: TaskContext) -> str:
        for what in ("a", "b"):
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": what})
            seen_from_outside.append(await applied(db))
        return "done"

    handle = await client.enqueue(two_blocks)
    await drain()
    assert await handle.result(10) == "done"
    assert seen_from_outside == [[], []]
    assert await applied(db) == ["a", "b"]


async def test_an_error_undoes_every_block(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("fails", max_tries=1, registry=registry)
    async def fails(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "a"})
            await session.commit()
        raise ValueError("too late")

    handle = await client.enqueue(fails)
    await drain()
    with pytest.raises(TaskFailed, match="ValueError: too late"):
        await handle.result(10)
    assert await applied(db) == []


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_a_caught_error_undoes_its_own_block_alone(db: Database, failing: int) -> None:
    work = UnitOfWork(db)
    for number in range(3):
        try:
            async with work.get_session() as session:
                await session.execute(INSERT, {"what": str(number)})
                if number == failing:
                    raise KeyError
        except KeyError:
            pass
    await work.commit()
    assert await applied(db) == [str(number) for number in range(3) if number != failing]


async def test_an_error_undoes_what_followed_the_blocks_last_commit(db: Database) -> None:
    work = UnitOfWork(db)
    with pytest.raises(KeyError):
        async with work.get_session() as session:
            await session.execute(INSERT, {"what": "before"})
            await session.commit()
            await session.execute(INSERT, {"what": "after"})
            raise KeyError
    await work.commit()
    assert await applied(db) == ["before"]


async def test_a_failed_statement_in_a_caught_block_harms_no_other(db: Database) -> None:
    work = UnitOfWork(db)
    for statement in ("SELECT 1", "SELECT 1/0", "SELECT 2"):
        try:
            async with work.get_session() as session:
                await session.execute(INSERT, {"what": statement})
                await session.execute(text(statement))
        except DBAPIError:
            pass
    await work.commit()
    assert await applied(db) == ["SELECT 1", "SELECT 2"]


@pytest.mark.parametrize("earlier_blocks", [0, 1])
async def test_a_swallowed_failed_execute_raises_inside_a_task(
    db: Database, earlier_blocks: int
) -> None:
    work = UnitOfWork(db)
    for _ in range(earlier_blocks):
        async with work.get_session() as session:
            await session.execute(INSERT, {"what": "earlier"})
    with pytest.raises(TransactionAborted, match="division by zero"):
        async with work.get_session() as session:
            await session.execute(INSERT, {"what": "a"})
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT 1/0"))
    await work.commit()
    assert await applied(db) == ["earlier"] * earlier_blocks


async def test_a_swallowed_failed_flush_raises_inside_a_task(db: Database) -> None:
    from worker.models import User

    work = UnitOfWork(db)
    with pytest.raises(TransactionAborted, match="duplicate key"):
        async with work.get_session() as session:
            session.add_all([User(username="ada", email=f"{n}@example.org") for n in "ab"])
            with pytest.raises(DBAPIError):
                await session.flush()
    await work.rollback()


async def test_no_connection_is_held_before_the_first_statement(db: Database) -> None:
    work = UnitOfWork(db)
    async with work.get_session() as session:
        assert checked_out(db) == 0
        await session.execute(text("SELECT 1"))
        assert checked_out(db) == 1
    await work.rollback()


async def test_the_first_block_needs_no_savepoint(db: Database) -> None:
    from sqlalchemy import event

    savepoints: list[str] = []
    event.listen(db.engine.sync_engine, "savepoint", lambda *_: savepoints.append("savepoint"))
    work = UnitOfWork(db)
    async with work.get_session() as session:
        await session.execute(INSERT, {"what": "a"})
    assert savepoints == []
    async with work.get_session() as session:
        await session.execute(INSERT, {"what": "b"})
    assert savepoints == ["savepoint"]
    await work.commit()


async def test_two_sessions_at_once_are_refused_naming_both_places(db: Database) -> None:
    work = UnitOfWork(db)
    async with work.get_session():
        with pytest.raises(SessionAlreadyOpen) as caught:
            async with work.get_session():
                pass
    assert str(caught.value).count(f"{__file__}:") == 2
    async with work.get_session():  # the refusal has not broken the unit of work
        pass


async def test_concurrent_sessions_are_refused(db: Database) -> None:
    work = UnitOfWork(db)

    async def block() -> None:
        async with work.get_session() as session:
            await session.execute(text("SELECT 1"))

    outcomes = await asyncio.gather(block(), block(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), SessionAlreadyOpen]
    await work.rollback()


async def lose_connection(work: Sessions, db: Database) -> None:
    async with work.get_session() as session:
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
        async with Database(db.engine.url) as other:
            await other.execute_once(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        await session.execute(text("SELECT 1"))


async def test_a_connection_lost_after_a_block_had_joined_dooms_the_unit_of_work(
    db: Database,
) -> None:
    work = UnitOfWork(db)
    async with work.get_session() as session:
        await session.execute(INSERT, {"what": "joined"})
    with pytest.raises((*PASSING, UnitOfWorkLost)):
        await lose_connection(work, db)
    with pytest.raises(UnitOfWorkLost):
        async with work.get_session():
            pass
    with pytest.raises(UnitOfWorkLost):
        await work.commit()
    await work.rollback()
    assert await applied(db) == []


async def test_a_query_cancelled_after_a_block_had_joined_dooms_the_unit_of_work(
    db: Database,
) -> None:
    work = UnitOfWork(db)
    async with work.get_session() as session:
        await session.execute(INSERT, {"what": "joined"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), work.get_session() as session:
            await session.execute(text("SELECT pg_sleep(30)"))
    with pytest.raises(UnitOfWorkLost):
        await work.commit()
    await work.rollback()
    assert await applied(db) == []


async def test_a_connection_lost_before_anything_had_joined_is_replaced(db: Database) -> None:
    work = UnitOfWork(db)
    with pytest.raises(PASSING):
        await lose_connection(work, db)
    async with work.get_session() as session:
        await session.execute(INSERT, {"what": "a"})
    await work.commit()
    assert await applied(db) == ["a"]


async def test_a_lost_unit_of_work_is_retried_though_the_task_caught_it_and_burns_no_try(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    attempts: list[int] = []

    @task("loses", max_tries=1, registry=registry)
    async def loses(ctx: TaskContext) -> str:
        attempts.append(ctx["task"].attempt)
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": f"attempt {len(attempts)}"})
        if len(attempts) == 1:
            with pytest.raises(DBAPIError):
                await lose_connection(ctx["db"], db)
        return "done"

    handle = await client.enqueue(loses)
    await drain()
    view = await client.get(handle.id)
    assert view is not None
    assert (view.state, view.tries) == (TaskState.QUEUED, 0)
    await db.execute_once(text("UPDATE task SET run_at = now()"), {})
    await client.redis.zadd("arq:queue", {str(handle.id): 1})
    await drain()
    assert await handle.result(10) == "done"
    assert attempts == [1, 2]
    assert await applied(db) == ["attempt 2"]


async def test_an_error_in_one_task_never_touches_another_tasks_session(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    both_inside = asyncio.Barrier(2)

    @task("good", registry=registry)
    async def good(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "good"})
            await both_inside.wait()
            await session.execute(INSERT, {"what": "good"})

    @task("bad", max_tries=1, registry=registry)
    async def bad(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "bad"})
            await both_inside.wait()
            await session.execute(text("SELECT 1/0"))

    handles = [await client.enqueue(good), await client.enqueue(bad)]
    await drain()
    assert [await handle.status() for handle in handles] == ["succeeded", "failed"]
    assert await applied(db) == ["good", "good"]


async def test_separate_blocks_commit_for_themselves(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen: list[list[str]] = []

    @task("separate", atomic=False, max_tries=1, registry=registry)
    async def separate(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "a"})
        seen.append(await applied(db))
        raise ValueError

    handle = await client.enqueue(separate)
    await drain()
    assert await handle.status() is TaskState.FAILED
    assert seen == [["a"]]
    assert await applied(db) == ["a"]


async def test_a_separate_block_of_a_superseded_attempt_is_rolled_back(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    refused: list[BaseException] = []

    @task("superseded", atomic=False, registry=registry)
    async def superseded(ctx: TaskContext) -> None:
        await interventions.cancel(db, id_of(ctx), 60.0)
        try:
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "a"})
        except AttemptSuperseded as error:
            refused.append(error)
            raise

    handle = await client.enqueue(superseded)
    await drain()
    assert await handle.status() is TaskState.CANCELLED
    assert len(refused) == 1
    assert await applied(db) == []


async def test_a_deferred_constraint_that_fails_at_the_commit_is_the_tasks_failure(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    await db.execute_once(
        text("CREATE TABLE child (user_id bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED)"),
        {},
    )

    @task("deferred", max_tries=2, backoff=AT_ONCE, registry=registry)
    async def deferred(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "a"})
            await session.execute(text("INSERT INTO child VALUES (999)"))

    handle = await client.enqueue(deferred)
    while await handle.status() != TaskState.FAILED:
        await drain()
    with pytest.raises(TaskFailed, match="IntegrityError"):
        await handle.result(10)
    assert await applied(db) == []


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "COMMIT; BEGIN"])
@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("blocks", [0, 1])
async def test_a_transaction_that_a_statement_has_ended_fails_the_task_for_good(
    db: Database, client: TaskClient, registry: Registry, drain: Drain,
    statement: str, swallows: bool, blocks: int,
) -> None:  # fmt: skip
    @task("by.hand", backoff=AT_ONCE, registry=registry)
    async def by_hand(ctx: TaskContext) -> None:
        for _ in range(blocks):
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "earlier"})
        try:
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "before"})
                if ";" in statement:  # several are one message of the driver's own
                    pooled = await (await session.connection()).get_raw_connection()
                    await driver_of(pooled).execute(statement)
                else:
                    await session.execute(text(statement))
                await session.execute(INSERT, {"what": "after"})
        except Exception:
            if not swallows:
                raise

    handle = await client.enqueue(by_hand)
    await drain()
    with pytest.raises(TaskFailed, match="TransactionEnded.*as text"):
        await handle.result(10)
    view = await client.get(handle.id)
    assert view is not None
    assert view.attempt == 1


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
async def test_a_block_outside_a_task_tells_that_a_statement_has_ended_its_transaction(
    db: Database, statement: str
) -> None:
    with pytest.raises(TransactionEnded, match="as text"):
        async with db.get_session() as session:
            await session.execute(INSERT, {"what": "before"})
            await session.execute(text(statement))
    async with db.get_session() as session:
        await session.execute(INSERT, {"what": "next"})
    assert (await applied(db))[-1] == "next"


async def test_a_connection_that_was_lost_is_forgotten(db: Database) -> None:
    lost: list[weakref.ref[object]] = []
    for _ in range(3):
        work = UnitOfWork(db)
        with pytest.raises(TimeoutError):
            async with work.get_session() as session:
                connection = await session.connection()
                lost.append(weakref.ref(connection.sync_connection))
                async with asyncio.timeout(0.01):
                    await session.execute(text("SELECT pg_sleep(60)"))
        await work.rollback()
    del work, session, connection
    gc.collect()
    assert [one() for one in lost] == [None] * 3
