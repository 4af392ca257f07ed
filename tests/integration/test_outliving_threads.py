"""A thread cannot be stopped: what becomes of an attempt whose function does not return in time."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import Drain, task_worker
from tests.pools import checked_out
from uow import (
    Backoff,
    CallNext,
    Database,
    Settings,
    SyncTaskContext,
    TaskCancelled,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskFunction,
    TaskState,
    middleware,
    task,
)
from uow.attempt.solo import Occupied
from uow.fast.task_worker import TaskWorker
from uow.host import Process
from uow.process.bridge import AttemptOverInThread
from uow.stock.worker import BurstWorker
from uow.tasks.registry import Registry

INSERT = text("INSERT INTO effect VALUES (:what)")

SLEEPING = text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")

ALIVE = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")

KINDS: list[dict[str, Any]] = [{}, {"atomic": False}, {"durable": False}]

kinds = pytest.mark.parametrize("kind", KINDS, ids=["atomic", "separate blocks", "rowless"])

ROWS: list[dict[str, Any]] = KINDS[:2]

GOES_ON = "its attempt has ended, but its thread goes on, in "


@pytest.fixture(autouse=True)
async def effects(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})


async def applied(db: Database) -> list[str]:
    found = await db.execute_once(text("SELECT what FROM effect ORDER BY what"), {})
    return list(found.scalars())


class Thread:
    """What the test and the thread of a task tell each other."""

    def __init__(self) -> None:
        self.begun, self.goes_on, self.ended = (threading.Event() for _ in range(3))
        self.met: BaseException | None = None

    def stay(self) -> None:
        """In the thread: wait for the test."""
        self.begun.set()
        assert self.goes_on.wait(30)

    async def has_ended(self) -> BaseException | None:
        self.goes_on.set()
        assert await asyncio.to_thread(self.ended.wait, 10)
        return self.met

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.met = error
        self.ended.set()


@pytest.fixture
def thread() -> Any:
    made = Thread()
    yield made
    made.goes_on.set()


@kinds
async def test_a_timeout_ends_the_attempt_and_the_threads_next_statement_is_refused(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, thread: Thread,
    processes: list[Process], caplog: pytest.LogCaptureFixture, kind: dict[str, Any],
) -> None:  # fmt: skip
    @task("goes.on", max_tries=1, timeout=0.2, registry=registry, **kind)
    def goes_on(ctx: SyncTaskContext) -> None:
        with thread, ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": "before"})
            thread.stay()
            session.execute(INSERT, {"what": "after"})

    handle = await client.enqueue(goes_on)
    await drain()
    with pytest.raises(TaskFailed, match=r"TaskTimeout: goes.on ran longer than 0.2 s"):
        await handle.result(10)
    said = next(line for line in caplog.messages if GOES_ON in line)
    assert re.search(rf"Thread.stay \({re.escape('tests/integration/')}\w+.py:\d+\)", said)
    assert processes[-1].runtime.calling.threads.outliving == 1
    assert isinstance(await thread.has_ended(), AttemptOverInThread)
    assert await applied(db) == []


@kinds
async def test_a_statement_that_runs_at_the_timeout_is_cancelled_on_the_server(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, thread: Thread,
    caplog: pytest.LogCaptureFixture, kind: dict[str, Any],
) -> None:  # fmt: skip
    @task("sleeps", max_tries=1, timeout=0.3, registry=registry, **kind)
    def sleeps(ctx: SyncTaskContext) -> None:
        with thread, ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": "before"})
            session.execute(text("SELECT pg_sleep(60)"))

    handle = await client.enqueue(sleeps)
    async with asyncio.timeout(10):
        await drain()
    with pytest.raises(TaskFailed, match="TaskTimeout"):
        await handle.result(10)
    assert isinstance(await thread.has_ended(), AttemptOverInThread)
    assert (await db.execute_once(SLEEPING, {})).scalar_one() == 0
    assert await applied(db) == []
    assert GOES_ON not in caplog.text  # it only waited for us


async def test_swallowing_exceptions_keeps_no_thread_going(
    client: TaskClient, registry: Registry, drain: Drain, thread: Thread
) -> None:
    @task("swallows", max_tries=1, timeout=0.2, registry=registry)
    def swallows(ctx: SyncTaskContext) -> None:
        with thread:
            while True:
                try:
                    with ctx["db"].get_session() as session:
                        session.execute(text("SELECT 1"))
                except Exception:
                    continue

    await client.enqueue(swallows)
    await drain()
    assert isinstance(await thread.has_ended(), AttemptOverInThread)


@pytest.mark.parametrize("what", ["opens a session", "reports"])
async def test_whatever_else_it_does_with_its_context_is_refused(
    client: TaskClient, registry: Registry, drain: Drain, thread: Thread, what: str
) -> None:
    @task("late", max_tries=1, timeout=0.2, registry=registry)
    def late(ctx: SyncTaskContext) -> None:
        with thread:
            thread.stay()
            if what == "reports":
                ctx["task"].report(done=1)
            with ctx["db"].get_session():
                pass

    await client.enqueue(late)
    await drain()
    assert isinstance(await thread.has_ended(), AttemptOverInThread)


@pytest.mark.parametrize("kind", ROWS, ids=["atomic", "separate blocks"])
async def test_cancelling_the_task_ends_the_attempt_and_commits_nothing(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, thread: Thread,
    kind: dict[str, Any],
) -> None:  # fmt: skip
    @task("cancelled", registry=registry, **kind)
    def cancelled(ctx: SyncTaskContext) -> None:
        with thread, ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": "before"})
            thread.stay()
            session.execute(INSERT, {"what": "after"})

    handle = await client.enqueue(cancelled)
    draining = asyncio.create_task(drain())
    assert await asyncio.to_thread(thread.begun.wait, 10)
    assert await handle.cancel()
    await draining
    with pytest.raises(TaskCancelled):
        await handle.result(10)
    assert isinstance(await thread.has_ended(), AttemptOverInThread)
    assert await applied(db) == []


async def test_what_a_thread_returns_after_its_timeout_is_not_committed(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, thread: Thread
) -> None:
    runs: list[int] = []

    @task("too.late", max_tries=2, timeout=0.2, backoff=Backoff(base=0), registry=registry)
    def too_late(ctx: SyncTaskContext) -> int:
        runs.append(ctx["task"].attempt)
        with ctx["db"].get_session() as session:
            session.execute(INSERT, {"what": str(ctx["task"].attempt)})
        if ctx["task"].attempt == 1:
            with thread:
                thread.stay()
        return ctx["task"].attempt

    handle = await client.enqueue(too_late)
    await drain()
    await thread.has_ended()
    assert await handle.result(10) == 2  # in the same process, beside the thread of the first
    assert await applied(db) == ["2"]


@asynccontextmanager
async def running(kind: str, settings: Settings, registry: Registry) -> AsyncIterator[Process]:
    """A worker that serves until the end of the block."""
    kinds: dict[str, type[TaskWorker | BurstWorker]] = {"stock": BurstWorker, "fast": TaskWorker}
    process, worker = task_worker(kinds[kind], settings, registry, burst=False, poll_delay=0.01)
    serving = asyncio.create_task(worker.async_run())
    try:
        yield process
    finally:
        await worker.close()
        await asyncio.wait([serving])


@pytest.mark.parametrize("engine", ["stock", "fast"])
async def test_its_slot_stays_taken_until_it_returns(
    settings: Settings, db: Database, client: TaskClient, registry: Registry, thread: Thread,
    engine: str,
) -> None:  # fmt: skip
    settings = settings.model_copy(update={"concurrency": 1})

    @task("holds", max_tries=1, timeout=0.1, registry=registry)
    def holds(ctx: SyncTaskContext) -> None:
        with thread:
            thread.stay()

    @task("waits", registry=registry)
    def waits(ctx: SyncTaskContext) -> bool:
        return thread.goes_on.is_set()

    async with running(engine, settings, registry):
        first = await client.enqueue(holds)
        with pytest.raises(TaskFailed, match="TaskTimeout"):
            await first.result(10)
        second = await client.enqueue(waits)
        with pytest.raises(TimeoutError):
            await second.result(0.7)
        assert await second.status() is TaskState.QUEUED
        await thread.has_ended()
        assert await second.result(15) is True


@pytest.fixture
def stays(registry: Registry, thread: Thread) -> TaskFunction[..., None]:
    """One whose thread goes on after its attempt."""

    @task("stays", max_tries=1, timeout=0.1, registry=registry)
    def stays(ctx: SyncTaskContext) -> None:
        with thread:
            thread.stay()

    return stays


async def test_a_suspect_waits_for_it(
    client: TaskClient, stays: TaskFunction[..., None], drain: Drain, thread: Thread,
    processes: list[Process],
) -> None:  # fmt: skip
    await client.enqueue(stays)
    await drain()
    solo = processes[-1].runtime.solo
    solo.enter()
    waiting = asyncio.create_task(solo.emptied(10))
    with solo.reserved():
        await asyncio.sleep(0)
        assert not waiting.done()
        await thread.has_ended()
        await waiting


async def test_one_that_a_suspect_has_left_behind_keeps_the_others_out(
    db: Database, client: TaskClient, stays: TaskFunction[..., None], drain: Drain, thread: Thread,
    processes: list[Process],
) -> None:  # fmt: skip
    handle = await client.enqueue(stays)
    await db.execute_once(text("UPDATE worker.task SET deaths = 2"), {})
    running = asyncio.create_task(drain())
    with pytest.raises(TaskFailed, match="TaskTimeout"):
        await handle.result(10)
    solo = processes[-1].runtime.solo
    with pytest.raises(Occupied):
        solo.enter()
    freed = asyncio.Event()
    solo.on_free = freed.set
    await thread.has_ended()
    async with asyncio.timeout(10):
        await freed.wait()
        await running
    assert not solo.is_reserved


async def test_one_that_never_came_to_a_thread_burns_no_try(
    settings: Settings, db: Database, client: TaskClient, registry: Registry, thread: Thread,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    settings = settings.model_copy(update={"threads": 1})
    runs: list[int] = []

    @task("has.it", registry=registry)
    def has_it(ctx: SyncTaskContext) -> None:
        with thread:
            thread.stay()

    @task("wants.it", max_tries=1, timeout=0.2, registry=registry)
    def wants_it(ctx: SyncTaskContext) -> int:
        runs.append(ctx["task"].attempt)
        return ctx["task"].tries

    async with running("fast", settings, registry):
        first = await client.enqueue(has_it)
        assert await asyncio.to_thread(thread.begun.wait, 10)
        second = await client.enqueue(wants_it)
        async with asyncio.timeout(10):
            while "no thread came free for wants.it" not in caplog.text:
                await asyncio.sleep(0.01)
        assert runs == []
        await thread.has_ended()
        await first.result(10)
        assert await second.result(10) == 0


@pytest.mark.parametrize("leaves_by", ["its timeout", "the end of the worker"])
async def test_one_that_never_came_to_a_thread_is_no_success_if_a_middleware_swallows_failures(
    settings: Settings, db: Database, client: TaskClient, registry: Registry, thread: Thread,
    caplog: pytest.LogCaptureFixture, leaves_by: str,
) -> None:  # fmt: skip
    timeout, grace = (0.2, 10.0) if leaves_by == "its timeout" else (30.0, 0.2)
    settings = settings.model_copy(update={"threads": 1, "shutdown_grace": grace})
    waits = asyncio.Event()

    @middleware(registry=registry)
    async def forgiving(ctx: TaskContext, call_next: CallNext) -> Any:
        if ctx["task"].name == "wants.it":
            waits.set()
        try:
            return await call_next()
        except Exception:
            return None

    @task("has.it", registry=registry)
    def has_it(ctx: SyncTaskContext) -> None:
        with thread:
            thread.stay()

    @task("wants.it", timeout=timeout, registry=registry)
    def wants_it(ctx: SyncTaskContext) -> None: ...

    async with running("fast", settings, registry):
        await client.enqueue(has_it)
        assert await asyncio.to_thread(thread.begun.wait, 10)
        handle = await client.enqueue(wants_it)
        await asyncio.wait_for(waits.wait(), 10)
        await asyncio.sleep(0.4 if leaves_by == "its timeout" else 0.1)
    assert await handle.status() == "queued"


@kinds
async def test_its_connection_is_ended_and_never_given_back(
    settings: Settings, db: Database, client: TaskClient, registry: Registry, thread: Thread,
    kind: dict[str, Any],
) -> None:  # fmt: skip
    pids: list[int] = []

    @task("keeps", max_tries=1, timeout=0.2, registry=registry, **kind)
    def keeps(ctx: SyncTaskContext) -> None:
        with thread, ctx["db"].get_session() as session:
            pids.extend(session.scalars(text("SELECT pg_backend_pid()")))
            thread.stay()

    async with running("fast", settings, registry) as process:
        handle = await client.enqueue(keeps)
        with pytest.raises(TaskFailed, match="TaskTimeout"):
            await handle.result(10)
        worker_db: Any = process.runtime.db
        assert checked_out(worker_db) == 0
        async with asyncio.timeout(5):
            while (await db.execute_once(ALIVE, {"pid": pids[0]})).scalar_one():
                await asyncio.sleep(0.01)
        await thread.has_ended()
        assert checked_out(worker_db) == 0
