"""What a task has asked to be called after its commit: then, in order, and never without one."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, TypedDict

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.conftest import Drain, task_worker
from tests.contexts import id_of
from uow import Backoff, Database, Settings, TaskClient, TaskContext, TaskState, task
from uow.attempt.callbacks import Callbacks
from uow.db import interventions, outcomes
from uow.fast import group_commit
from uow.fast.task_worker import TaskWorker
from uow.tasks.after_commit import AfterCommit, Block
from uow.tasks.registry import Registry

INSERT = text("INSERT INTO effect VALUES (:what)")
KINDS = ["atomic", "separate", "rowless"]

number: ContextVar[int] = ContextVar("number")


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effect"

    what: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture(autouse=True)
async def effect(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text CHECK (what <> 'refused'))"), {})


async def effects(db: Database) -> list[str]:
    found = await db.execute_once(text("SELECT what FROM effect ORDER BY what"), {})
    return list(found.scalars())


class Kind(TypedDict):
    """How a task does its work."""

    atomic: bool
    durable: bool


def options(kind: str) -> Kind:
    return {"atomic": kind != "separate", "durable": kind != "rowless"}


@pytest.mark.parametrize("kind", KINDS)
async def test_callbacks_are_called_after_the_commit_in_their_order(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    called: list[tuple[str, list[str]]] = []

    async def note(what: str) -> None:
        called.append((what, await effects(db)))

    @task("notes", max_tries=1, registry=registry, **options(kind))
    async def notes(ctx: TaskContext) -> None:
        ctx["task"].on_commit(lambda: called.append(("before", [])))
        for what in "a", "b":
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": what})
                ctx["task"].on_commit(partial(note, what))
        called.append(("returned", []))

    await client.enqueue(notes)
    await drain()
    if kind == "separate":  # each block has its own commit
        assert called == [("a", ["a"]), ("b", ["a", "b"]), ("returned", []), ("before", [])]
    else:
        both = ["a", "b"]
        assert called == [("returned", []), ("before", []), ("a", both), ("b", both)]


@pytest.mark.parametrize("kind", KINDS)
async def test_callbacks_of_a_task_without_a_session_are_called_when_it_has_succeeded(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    called: list[TaskState | None] = []

    @task("without", registry=registry, **options(kind))
    async def without(ctx: TaskContext) -> str:
        async def look() -> None:
            called.append(None if kind == "rowless" else await handle.status())

        ctx["task"].on_commit(look)
        return "done"

    handle = await client.enqueue(without)
    await drain()
    assert await handle.result(10) == "done"
    assert called == [None if kind == "rowless" else TaskState.SUCCEEDED]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_undone_calls_nothing(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    called: list[str] = []

    @task("undone", max_tries=2, backoff=Backoff(base=0), registry=registry, **options(kind))
    async def undone(ctx: TaskContext) -> None:
        first = ctx["task"].attempt == 1
        ctx["task"].on_commit(lambda: called.append("attempt"))
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "kept"})
            ctx["task"].on_commit(lambda: called.append("kept"))
            await session.commit()
            ctx["task"].on_commit(lambda: called.append("after the block's last commit"))
            if not first:
                await session.commit()
        with pytest.raises(ValueError, match="undone"):
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "undone"})
                ctx["task"].on_commit(lambda: called.append("undone"))
                raise ValueError("undone")
        if first:
            raise ValueError("and so is the attempt, or what of it is not committed yet")

    await client.enqueue(undone)
    for _ in range(2):
        await drain()
    own = ["kept", "after the block's last commit"]
    assert called == ([*own, *own, "attempt"] if kind == "separate" else ["attempt", *own])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("joined", [True, False])
async def test_what_a_rollback_by_hand_undoes_calls_nothing(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: str, joined: bool
) -> None:
    called: list[str] = []

    @task("by.hand", max_tries=1, registry=registry, **options(kind))
    async def by_hand(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            if joined:
                async with session.begin():  # by which nothing is called yet, though it commits
                    await session.execute(INSERT, {"what": "kept"})
                    ctx["task"].on_commit(lambda: called.append("kept"))
            await session.execute(INSERT, {"what": "undone"})
            ctx["task"].on_commit(lambda: called.append("undone"))
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT 1 / 0"))
            await session.rollback()
            ctx["task"].on_commit(lambda: called.append("instead"))

    await client.enqueue(by_hand)
    await drain()
    kept = ["kept"] if joined else []
    assert await effects(db) == kept
    assert called == [*kept, "instead"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_savepoint_that_is_undone_leaves_what_was_given_in_the_block(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    called: list[str] = []

    @task("savepoint", max_tries=1, registry=registry, **options(kind))
    async def savepoint(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "kept"})
            ctx["task"].on_commit(lambda: called.append("kept"))
            with pytest.raises(DBAPIError):
                async with session.begin_nested():
                    session.add(Effect(what="refused"))
                    await session.flush()

    await client.enqueue(savepoint)
    await drain()
    assert await effects(db) == ["kept"]
    assert called == ["kept"]


async def test_an_attempt_that_has_no_say_any_more_calls_nothing(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    called: list[str] = []

    @task("cancelled", registry=registry)
    async def cancelled(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "undone"})
            ctx["task"].on_commit(lambda: called.append("undone"))
        await interventions.cancel(db, id_of(ctx), 60.0)

    await client.enqueue(cancelled)
    await drain()
    assert called == []


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_a_callback_is_logged_and_changes_nothing(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    called: list[str] = []

    @task("fails.afterwards", max_tries=1, registry=registry, **options(kind))
    async def fails(ctx: TaskContext) -> str:
        def fail(error: BaseException) -> None:
            raise error

        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "kept"})
            ctx["task"].on_commit(lambda: fail(ValueError("of the callback")))
            ctx["task"].on_commit(lambda: fail(SystemExit(3)))
            ctx["task"].on_commit(lambda: fail(asyncio.CancelledError()))
            ctx["task"].on_commit(lambda: called.append("the next one"))
        return "done"

    handle = await client.enqueue(fails)
    with caplog.at_level(logging.ERROR, "uow.tasks.after_commit"):
        await drain()
    assert await handle.result(10) == "done"
    assert await effects(db) == ["kept"]
    assert called == ["the next one"]
    said = [
        one.getMessage()
        for one in caplog.records
        if "called after its commit" in one.msg % one.args
    ]
    assert len(said) == 3
    assert str(handle.id) in said[0]
    assert "ValueError: of the callback; what is committed stays" in said[0]


async def test_callbacks_that_never_end_are_given_up(
    client: TaskClient, registry: Registry, drain: Drain, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Callbacks, "seconds", 0.2)

    @task("hangs.afterwards", max_tries=1, registry=registry)
    async def hangs(ctx: TaskContext) -> str:
        ctx["task"].on_commit(asyncio.Event().wait)
        return "done"

    handle = await client.enqueue(hangs)
    await drain()
    assert await handle.result(10) == "done"
    assert "called after its commit took longer than 0.2 s" in caplog.text


@pytest.mark.parametrize("kind", ["atomic", "rowless"])
async def test_callbacks_of_an_attempt_that_was_interrupted_in_its_commit_keep_nobody_long(
    client: TaskClient, registry: Registry, drain: Drain, kind: str,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    interrupt_all: Callable[[], None],
) -> None:  # fmt: skip
    monkeypatch.setattr(Callbacks, "stopping_seconds", 0.1)
    called: list[str] = []

    @task("stops", timeout=3, max_tries=1, registry=registry, **options(kind))
    async def stops(ctx: TaskContext) -> str:
        async with ctx["db"].get_session() as session:
            await session.execute(INSERT, {"what": "kept"})
            connection = (await session.connection()).sync_connection
            event.listen(connection, "commit", lambda _: interrupt_all())
        ctx["task"].on_commit(lambda: called.append("a quick one"))
        ctx["task"].on_commit(asyncio.Event().wait)
        return "done"

    handle = await client.enqueue(stops)
    await drain()
    assert await handle.result(10) == "done"
    assert called == ["a quick one"]
    assert "called after its commit took longer than 0.1 s" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
async def test_a_cancellation_of_a_callbacks_own_is_none_of_the_attempt(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    called: list[str] = []

    @task("cancels", max_tries=1, registry=registry, **options(kind))
    async def cancels(ctx: TaskContext) -> str:
        def fail() -> None:
            raise asyncio.CancelledError

        running = asyncio.current_task()
        assert running is not None
        running.cancel()  # and stays `cancelling()`, as after a failed group before Python 3.13
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        async with ctx["db"].get_session():
            ctx["task"].on_commit(fail)
            ctx["task"].on_commit(lambda: called.append("the next one"))
        return "done"

    handle = await client.enqueue(cancels)
    await drain()
    assert await handle.result(10) == "done"
    assert called == ["the next one"]


async def test_an_attempt_that_is_thrown_away_calls_nothing_more() -> None:
    called: list[str] = []

    async def hang() -> None:
        await asyncio.sleep(0)

    calls = AfterCommit("x").call([hang, lambda: called.append("the next one")])
    calls.send(None)
    calls.close()
    assert called == []


async def test_who_comes_after_the_attempt_is_refused(
    client: TaskClient, registry: Registry, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    @task("again", registry=registry)
    async def again(ctx: TaskContext) -> None:
        ctx["task"].on_commit(lambda: ctx["task"].on_commit(print))

    await client.enqueue(again)
    await drain()
    assert "AttemptOver" in caplog.text


async def test_a_coroutine_is_no_callback(
    client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("coroutine", registry=registry)
    async def coroutine(ctx: TaskContext) -> str:
        asleep = asyncio.sleep(0)
        with pytest.raises(TypeError, match="give it a function"):
            ctx["task"].on_commit(asleep)  # type: ignore[arg-type]
        await asleep
        return "done"

    handle = await client.enqueue(coroutine)
    await drain()
    assert await handle.result(10) == "done"


async def test_blocks_that_are_open_side_by_side_have_each_their_own() -> None:
    called: list[str] = []
    attempt = AfterCommit("x")
    both = asyncio.Barrier(2)

    async def block(name: str, *, commits: bool) -> None:
        with Block(attempt) as mine:
            await both.wait()
            attempt.add(lambda: called.append(name))
            await both.wait()
            if commits:
                await mine.call()

    async with asyncio.TaskGroup() as group:
        group.create_task(block("committed", commits=True))
        group.create_task(block("undone", commits=False))
    assert called == ["committed"]


async def test_a_hook_of_sqlalchemys_is_called_when_a_block_joins_which_is_no_commit_yet(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    hooked: list[list[str]] = []

    @task("hooks", max_tries=1, registry=registry)
    async def hooks(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            listen(session)
            await session.execute(INSERT, {"what": "undone"})
        hooked.append(await effects(db))
        raise ValueError

    def listen(session: AsyncSession) -> None:
        event.listen(session.sync_session, "after_commit", lambda _: hooked.append(["joined"]))

    await client.enqueue(hooks)
    await drain()
    assert hooked == [["joined"], []]


@pytest.mark.parametrize("kind", KINDS)
async def test_they_run_in_the_attempts_context_and_keep_no_slot(
    client: TaskClient, registry: Registry, drain: Drain, settings: Settings, kind: str
) -> None:
    """More attempts wait in their callbacks than there are slots, until the last one has run."""
    last, seen = asyncio.Event(), list[int]()
    tasks = 2 * settings.concurrency

    @task("waits", max_tries=1, registry=registry, **options(kind))
    async def waits(ctx: TaskContext, n: int) -> None:
        number.set(n)

        async def look() -> None:
            if n == tasks:
                last.set()
            await last.wait()
            seen.append(number.get())

        ctx["task"].on_commit(look)

    await client.enqueue_many(waits, [{"n": n} for n in range(1, tasks + 1)])
    await drain()
    assert sorted(seen) == [*range(1, tasks + 1)]


async def test_a_group_whose_answer_was_lost_calls_them_all_the_same(
    client: TaskClient, registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    write, answers = outcomes.succeed_many, iter([ConnectionResetError("the answer is lost")])

    async def lost(*args: Any) -> Any:
        settled = await write(*args)
        for error in answers:
            raise error
        return settled

    monkeypatch.setattr(group_commit, "succeed_many", lost)

    @task("counts", registry=registry)
    async def counts(ctx: TaskContext, n: int) -> None:
        ctx["task"].on_commit(lambda: called.append(n))

    await client.enqueue_many(counts, [{"n": n} for n in range(3)])
    _, worker = task_worker(TaskWorker, settings, registry)
    await worker.async_run()
    await worker.close()
    assert sorted(called) == [0, 1, 2]


async def test_a_group_of_which_others_have_settled_one_does_not_call_its(
    client: TaskClient, db: Database, registry: Registry, settings: Settings
) -> None:
    called: list[int] = []

    @task("counts", registry=registry)
    async def counts(ctx: TaskContext, n: int) -> None:
        ctx["task"].on_commit(lambda: called.append(n))
        if n == 1:
            assert ctx["task"].id is not None
            await interventions.cancel(db, ctx["task"].id, 60)

    await client.enqueue_many(counts, [{"n": n} for n in range(3)])
    _, worker = task_worker(TaskWorker, settings, registry)
    await worker.async_run()
    await worker.close()
    assert sorted(called) == [0, 2]
