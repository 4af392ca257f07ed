"""A task function that is a plain ``def``: in a thread, with the same promises."""

import asyncio
import contextlib
import contextvars
import gc
import re
import threading
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

import uow.sync
from tests.conftest import Drain
from uow import (
    Backoff,
    Database,
    Snooze,
    SyncTaskContext,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskState,
    TransactionAborted,
    UnitOfWorkLost,
    task,
)
from uow.errors import AttemptSuperseded, EnqueueError, SessionAlreadyOpen, SessionEnded
from uow.process.bridge import AttemptOverInThread
from uow.tasks import retry
from uow.tasks.registry import Registry
from worker.models import User

AT_ONCE = Backoff(base=0)

INSERT = text("INSERT INTO effect VALUES (:what)")

KINDS: list[dict[str, Any]] = [{}, {"atomic": False}, {"durable": False}]

kinds = pytest.mark.parametrize("kind", KINDS, ids=["atomic", "separate blocks", "rowless"])


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    """With a table of somebody's own, that of the application's users."""
    return application_template


@pytest.fixture(autouse=True)
async def effects(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "HAND_BACK_SECONDS", (0.0, 0.0))


async def applied(db: Database) -> list[str]:
    found = await db.execute_once(text("SELECT what FROM effect ORDER BY what"), {})
    return list(found.scalars())


@kinds
async def test_it_gets_a_plain_session_in_a_thread_of_its_own(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    seen: list[Any] = []

    @task("plain", registry=registry, **kind)
    def plain(ctx: SyncTaskContext, what: str) -> str:
        seen.append(threading.current_thread().name)
        with ctx["db"].get_session() as session:
            seen.append(type(session))
            session.add(User(username=what, email="e"))
            session.flush()
            found = session.scalars(select(User).where(User.username == what)).one()
            session.execute(INSERT, {"what": found.username})
        return what

    handle = await client.enqueue(plain, what="once")
    await drain()
    assert await handle.result(10) == "once"
    assert await applied(db) == ["once"]
    assert seen[0].startswith("uow.task-")
    assert issubclass(seen[1], Session)


async def test_blocks_of_one_attempt_commit_together_with_the_result(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    at_rest: list[str] = []

    @task("two.blocks", max_tries=1, registry=registry)
    def two_blocks(ctx: SyncTaskContext) -> None:
        for what in ("a", "b"):
            with ctx["db"].get_session() as session:
                session.execute(INSERT, {"what": what})
                session.commit()
        with ctx["db"].get_session() as session:
            at_rest.extend(session.scalars(text("SELECT what FROM effect ORDER BY what")))
        raise ValueError("too late")

    handle = await client.enqueue(two_blocks)
    await drain()
    with pytest.raises(TaskFailed, match="ValueError: too late"):
        await handle.result(10)
    assert at_rest == ["a", "b"]
    assert await applied(db) == []


@kinds
async def test_a_caught_error_undoes_its_own_block_alone(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    @task("catches", max_tries=1, registry=registry, **kind)
    def catches(ctx: SyncTaskContext) -> None:
        for number in range(4):
            try:
                with ctx["db"].get_session() as session:
                    session.execute(INSERT, {"what": str(number)})
                    if number in (0, 2):
                        raise KeyError
            except KeyError:
                pass

    handle = await client.enqueue(catches)
    await drain()
    await handle.result(10)
    assert await applied(db) == ["1", "3"]


@kinds
async def test_an_integrity_error_in_a_savepoint_spares_what_is_around_it(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    @task("savepoint", max_tries=1, registry=registry, **kind)
    def savepoint(ctx: SyncTaskContext) -> str:
        with ctx["db"].get_session() as session:
            session.add(User(username="u", email="e"))
            session.flush()
            try:
                with session.begin_nested():
                    session.add(User(username="u", email="e"))
                    session.flush()
            except IntegrityError as error:
                return type(error.orig).__name__
        return "none"

    handle = await client.enqueue(savepoint)
    await drain()
    assert await handle.result(10) == "UniqueViolationError"
    async with db.get_session() as session:
        assert len((await session.scalars(select(User))).all()) == 1


@kinds
async def test_a_swallowed_error_aborts_the_commit(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    errors: list[BaseException] = []

    @task("swallows", max_tries=1, registry=registry, **kind)
    def swallows(ctx: SyncTaskContext) -> None:
        try:
            with ctx["db"].get_session() as session:
                session.execute(INSERT, {"what": "a"})
                with contextlib.suppress(DBAPIError):
                    session.execute(text("SELECT 1 / 0"))
        except TransactionAborted as error:
            errors.append(error)
            raise

    handle = await client.enqueue(swallows)
    await drain()
    with pytest.raises(TaskFailed, match=r"TransactionAborted: nothing was committed.*division"):
        await handle.result(10)
    assert len(errors) == 1
    assert await applied(db) == []


async def test_two_sessions_at_once_are_refused_with_both_places(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    said: list[str] = []

    @task("two.at.once", registry=registry)
    def two_at_once(ctx: SyncTaskContext) -> None:
        with ctx["db"].get_session():
            try:
                with ctx["db"].get_session():
                    pass
            except SessionAlreadyOpen as error:
                said.append(str(error))

    handle = await client.enqueue(two_at_once)
    await drain()
    await handle.result(10)
    assert len(re.findall(rf"{re.escape(__file__)}:\d+", said[0])) == 2


@kinds
async def test_a_session_is_refused_after_its_block(
    client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    said: list[str] = []

    @task("late", registry=registry, **kind)
    def late(ctx: SyncTaskContext) -> None:
        with ctx["db"].get_session() as session:
            session.execute(text("SELECT 1"))
        try:
            session.execute(text("SELECT 1"))
        except SessionEnded as error:
            said.append(str(error))

    handle = await client.enqueue(late)
    await drain()
    await handle.result(10)
    assert 'with ctx["db"].get_session() as session' in said[0]


@kinds
async def test_a_session_that_is_left_open_fails_the_attempt(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    kept: list[Any] = []

    @task("open", max_tries=1, registry=registry, **kind)
    def left_open(ctx: SyncTaskContext) -> None:
        kept.append(ctx["db"].get_session())
        kept[0].__enter__().execute(INSERT, {"what": "a"})

    handle = await client.enqueue(left_open)
    await drain()
    with pytest.raises(TaskFailed, match=f"SessionLeftOpen.*{__file__}:"):
        await handle.result(10)
    kept.clear()
    gc.collect()
    assert await applied(db) == []


async def test_one_that_is_forgotten_fails_the_attempt(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("forgets", max_tries=1, registry=registry)
    def forgets(ctx: SyncTaskContext) -> None:
        with ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": "own"})
        ctx["db"].get_session().__enter__().execute(INSERT, {"what": "forgotten"})

    handle = await client.enqueue(forgets)
    await drain()
    with pytest.raises(TaskFailed, match=r"SessionLeftOpen.*`with` in a def"):
        await handle.result(10)
    assert await applied(db) == []


async def test_a_connection_that_is_lost_after_a_block_has_joined_loses_the_unit_of_work(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen: list[str] = []

    @task("loses", registry=registry)
    def loses(ctx: SyncTaskContext) -> int:
        with ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": str(ctx["task"].attempt)})
        if ctx["task"].attempt == 1:
            try:
                with ctx["db"].get_session() as session:
                    session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            except DBAPIError as error:
                seen.append(type(error).__name__)
            try:
                with ctx["db"].get_session() as session:
                    session.execute(INSERT, {"what": "after"})
            except UnitOfWorkLost as error:
                seen.append(type(error).__name__)
        return ctx["task"].attempt

    handle = await client.enqueue(loses)
    await drain()
    assert await handle.result(10) == 2
    assert seen[-1] == "UnitOfWorkLost"
    assert await applied(db) == ["2"]


async def test_before_anything_has_joined_another_connection_is_taken(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("loses.nothing", registry=registry)
    def loses_nothing(ctx: SyncTaskContext) -> int:
        try:
            with ctx["db"].get_session() as session:
                session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        except DBAPIError:
            pass
        with ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": "a"})
        return ctx["task"].attempt

    handle = await client.enqueue(loses_nothing)
    await drain()
    assert await handle.result(10) == 1
    assert await applied(db) == ["a"]


@pytest.mark.parametrize("kind", KINDS[:2], ids=["atomic", "separate blocks"])
async def test_a_serialization_failure_burns_no_try(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    runs: list[int] = []

    @task("serialization", registry=registry, max_tries=1, **kind)
    def serialization(ctx: SyncTaskContext) -> int:
        runs.append(ctx["task"].attempt)
        with ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": "a"})
            if len(runs) == 1:
                session.execute(
                    text("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")
                )
        return len(runs)

    handle = await client.enqueue(serialization)
    await drain()
    assert await handle.result(10) == 2
    assert await applied(db) == ["a"]


async def test_a_deferred_constraint_fails_the_attempt_at_its_commit(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    await db.execute_once(
        text("CREATE TABLE once (n int, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)"), {}
    )

    @task("deferred", max_tries=1, registry=registry)
    def deferred(ctx: SyncTaskContext) -> None:
        with ctx["db"].get_session() as session:
            session.execute(text("INSERT INTO once VALUES (1), (1)"))

    handle = await client.enqueue(deferred)
    await drain()
    with pytest.raises(TaskFailed, match="IntegrityError"):
        await handle.result(10)


@kinds
async def test_rows_can_be_streamed(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    @task("streams", max_tries=1, registry=registry, **kind)
    def streams(ctx: SyncTaskContext) -> list[int]:
        with ctx["db"].get_session() as session:
            session.execute(INSERT, [{"what": "a"}, {"what": "b"}])
            numbers = select(func.generate_series(1, 250))
            rows = session.execute(numbers, execution_options={"yield_per": 100})
            assert rows.first() == (1,)
            rows = session.execute(numbers, execution_options={"yield_per": 100})
            return [len(part) for part in rows.partitions()]

    handle = await client.enqueue(streams)
    await drain()
    assert await handle.result(10) == [100, 100, 50]
    assert await applied(db) == ["a", "b"]


async def test_an_isolation_level_of_a_block_ends_with_it(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    level = text("SHOW transaction_isolation")

    @task("isolation", max_tries=1, atomic=False, registry=registry)
    def isolation(ctx: SyncTaskContext) -> list[str]:
        seen: list[str] = []
        for options in ({"isolation_level": "SERIALIZABLE"}, {}):
            with ctx["db"].get_session() as session:
                session.connection(execution_options=options)
                seen.append(session.scalars(level).one())
        return seen

    handle = await client.enqueue(isolation)
    await drain()
    assert await handle.result(10) == ["serializable", "read committed"]
    async with db.get_session() as session:
        assert (await session.scalars(level)).one() == "read committed"


async def test_context_variables_reach_the_thread(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    which: contextvars.ContextVar[str] = contextvars.ContextVar("which", default="unset")
    which.set("set before the worker ran")

    @task("context", registry=registry)
    def context(ctx: SyncTaskContext) -> str:
        found = which.get()
        which.set("set in the thread")
        return found

    handles = [await client.enqueue(context) for _ in range(2)]
    await drain()
    assert [await one.result(10) for one in handles] == ["set before the worker ran"] * 2


async def test_progress_can_be_reported_and_a_rowless_one_has_none(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("reports", registry=registry)
    def reports(ctx: SyncTaskContext) -> None:
        ctx["task"].report(done=1)

    @task("reports.nothing", durable=False, registry=registry)
    def reports_nothing(ctx: SyncTaskContext) -> None:
        ctx["task"].report(done=1)

    handle, rowless = await client.enqueue(reports), await client.enqueue(reports_nothing)
    await drain()
    await handle.result(10)
    await rowless.result(10)
    view = await client.get(handle.id)
    assert view is not None
    assert view.progress == {"done": 1}


@kinds
async def test_callbacks_are_called_after_the_commit_and_off_the_loop(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    called: list[tuple[str, bool]] = []

    def plain() -> None:
        called.append(("plain", threading.current_thread().name.startswith("uow.task-")))

    async def on_the_loop() -> None:
        called.append(("async", asyncio.get_running_loop().is_running()))

    @task("calls", registry=registry, **kind)
    def calls(ctx: SyncTaskContext) -> None:
        with ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": "a"})
            ctx["task"].on_commit(plain)
            ctx["task"].on_commit(on_the_loop)
        try:
            with ctx["db"].get_session() as session:
                session.execute(INSERT, {"what": "b"})
                ctx["task"].on_commit(lambda: called.append(("undone", True)))
                raise KeyError
        except KeyError:
            pass

    handle = await client.enqueue(calls)
    await drain()
    await handle.result(10)
    assert called == [("plain", True), ("async", True)]


async def test_what_is_no_function_is_refused_as_a_callback(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("calls.nothing", max_tries=1, registry=registry)
    def calls_nothing(ctx: SyncTaskContext) -> None:
        ctx["task"].on_commit(None)  # type: ignore[arg-type]

    handle = await client.enqueue(calls_nothing)
    await drain()
    with pytest.raises(TaskFailed, match="TypeError: on_commit: None cannot be called"):
        await handle.result(10)


@pytest.mark.parametrize("kind", KINDS[:2], ids=["atomic", "separate blocks"])
@pytest.mark.parametrize("commits", [True, False])
async def test_what_is_enqueued_through_its_session_follows_its_commit(
    db: Database, client: TaskClient, registry: Registry, drain: Drain,
    kind: dict[str, Any], commits: bool,
) -> None:  # fmt: skip
    ids: list[Any] = []

    @task("next", registry=registry)
    async def following(ctx: TaskContext, n: int) -> int:
        return n

    @task("enqueues", max_tries=1, registry=registry, **kind)
    def enqueues(ctx: SyncTaskContext) -> None:
        with ctx["db"].get_session() as session:
            ids.append(uow.sync.enqueue(session, following, n=7).id)
            if not commits:
                raise ValueError("undone")

    handle = await client.enqueue(enqueues)
    await drain()
    assert await handle.status() is (TaskState.SUCCEEDED if commits else TaskState.FAILED)
    view = await client.get(ids[0])
    assert (view is not None and view.state is TaskState.SUCCEEDED) is commits


@pytest.mark.parametrize("kind", KINDS[:2], ids=["atomic", "separate blocks"])
async def test_snoozing_rolls_back(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    runs: list[int] = []

    @task("snoozes", registry=registry, max_tries=3, **kind)
    def snoozes(ctx: SyncTaskContext) -> None:
        runs.append(ctx["task"].attempt)
        with ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": str(len(runs))})
            if len(runs) == 1:
                raise Snooze(0)

    await client.enqueue(snoozes)
    await drain()
    assert await applied(db) == ["2"]


async def test_a_block_of_an_attempt_that_is_not_current_any_more_is_refused(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    seen: list[str] = []
    overtake = text("UPDATE task SET attempt = attempt + 1")
    loop = asyncio.get_running_loop()

    @task("overtaken", atomic=False, registry=registry)
    def overtaken(ctx: SyncTaskContext) -> int:
        if not seen:
            asyncio.run_coroutine_threadsafe(db.execute_once(overtake, {}), loop).result(10)
            try:
                with ctx["db"].get_session() as session:
                    session.execute(INSERT, {"what": "block"})
            except AttemptSuperseded as error:
                seen.append(str(error))
        return ctx["task"].attempt

    handle = await client.enqueue(overtaken)
    await drain()
    assert "taken over" in seen[0]
    assert not (await handle.status()).settled
    assert await applied(db) == []


@kinds
async def test_async_with_says_what_to_write(
    client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    @task("async.with", max_tries=1, registry=registry, **kind)
    def async_with(ctx: SyncTaskContext) -> None:
        async def inner() -> None:
            async with ctx["db"].get_session():  # type: ignore[attr-defined]
                pass

        asyncio.run(inner())

    handle = await client.enqueue(async_with)
    await drain()
    with pytest.raises(TaskFailed, match=r'write `with ctx\["db"\].get_session\(\) as session`'):
        await handle.result(10)


async def test_with_in_an_async_def_says_what_to_write(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("plain.with", max_tries=1, registry=registry)
    async def plain_with(ctx: TaskContext) -> None:
        with ctx["db"].get_session():  # type: ignore[attr-defined]
            pass

    handle = await client.enqueue(plain_with)
    await drain()
    with pytest.raises(TaskFailed, match=r'write `async with ctx\["db"\].get_session\(\)'):
        await handle.result(10)


async def test_a_coroutine_that_is_returned_is_no_result(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    async def inner() -> int:
        return 1

    @task("coroutine", registry=registry)
    def coroutine(ctx: SyncTaskContext) -> Any:
        return inner()

    handle = await client.enqueue(coroutine)
    await drain()
    with pytest.raises(TaskFailed, match=r"InvalidResult: .*make the function an async def"):
        await handle.result(10)


async def test_it_has_no_redis_and_says_why(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("redis", max_tries=1, registry=registry)
    def redis(ctx: Any) -> None:
        ctx["redis"]

    handle = await client.enqueue(redis)
    await drain()
    with pytest.raises(TaskFailed, match="KeyError.*belong to the event loop"):
        await handle.result(10)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), StopIteration(1)])
async def test_whatever_is_raised_is_the_tasks_own_failure(
    client: TaskClient, registry: Registry, drain: Drain, raised: BaseException
) -> None:
    @task("raises", max_tries=1, registry=registry)
    def raises(ctx: SyncTaskContext) -> None:
        raise raised

    handle = await client.enqueue(raises)
    await drain()
    with pytest.raises(TaskFailed, match=r"sys.exit\(3\)|KeyboardInterrupt|StopIteration"):
        await handle.result(10)


async def test_one_statement_runs_at_a_time(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    said: list[str] = []

    @task("threads", max_tries=1, registry=registry)
    def threads(ctx: SyncTaskContext) -> None:
        with ctx["db"].get_session() as session:
            session.execute(text("SELECT 1"))
            connection = session.connection()
            begun = threading.Event()

            def other() -> None:
                begun.wait(10)
                while not said:
                    try:
                        connection.execute(text("SELECT 1"))
                    except Exception as error:
                        said.append(str(error))

            thread = threading.Thread(target=other)
            thread.start()
            begun.set()
            while not said:
                try:
                    session.execute(text("SELECT pg_sleep(0.02)"))
                except Exception as error:
                    said.append(str(error))
            thread.join()

    handle = await client.enqueue(threads)
    await drain()
    assert (await handle.status()).settled
    assert "one statement runs at a time" in said[0]


@kinds
async def test_a_thread_that_it_leaves_behind_is_refused(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: dict[str, Any]
) -> None:
    goes_on, refused = threading.Event(), threading.Event()

    @task("leaves.behind", max_tries=1, registry=registry, **kind)
    def leaves_behind(ctx: SyncTaskContext) -> str:
        def later() -> None:
            goes_on.wait(10)
            try:
                with ctx["db"].get_session() as session:
                    session.execute(INSERT, {"what": "later"})
            except AttemptOverInThread:
                refused.set()

        threading.Thread(target=later).start()
        return "done"

    handle = await client.enqueue(leaves_behind)
    await drain()
    assert await handle.result(10) == "done"
    goes_on.set()
    assert await asyncio.to_thread(refused.wait, 10)
    assert await applied(db) == []


async def test_a_cursor_of_its_sessions_connection_is_refused_before_it_spoils_the_transaction(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("asks", registry=registry)
    def asks(ctx: SyncTaskContext) -> str:
        with ctx["db"].get_session() as session:
            cursor: Any = session.connection().connection.cursor()
            with pytest.raises(EnqueueError, match=r"asyncpg's.* give its session"):
                uow.sync.enqueue_with_cursor(cursor, "other")
            return str(session.scalar(text("SELECT 'goes on'")))

    handle = await client.enqueue(asks)
    await drain()
    assert await handle.result(10) == "goes on"
