"""A session ends with its block, a unit of work with its attempt."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from tests.conftest import Drain
from tests.servers import serving
from uow import Database, SessionDep, TaskClient, TaskContext, TaskFailed, TaskFunction, task
from uow.errors import AttemptOver, SessionEnded
from uow.tasks.registry import Registry
from worker.models import User

INSERT = text("INSERT INTO effect VALUES (:what)")
HERE = __file__


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    """With a table of somebody's own, that of the application's users."""
    return application_template


@pytest.fixture(autouse=True)
async def effects(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})


@pytest.fixture
def nothing(registry: Registry) -> TaskFunction[..., None]:
    @task("nothing", registry=registry)
    async def nothing(ctx: TaskContext) -> None: ...

    return nothing


async def applied(db: Database) -> list[str]:
    found = await db.execute_once(text("SELECT what FROM effect ORDER BY what"), {})
    return list(found.scalars())


async def add(session: AsyncSession) -> None:
    session.add(User(username="u", email="e"))
    await session.flush()


USES: dict[str, Callable[[AsyncSession], Awaitable[object]]] = {
    "execute": lambda session: session.execute(text("SELECT 1")),
    "commit": lambda session: session.commit(),
    "flush of an object": add,
    "connection": lambda session: session.connection(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("used_before", [False, True])
async def test_a_session_refuses_every_use_after_its_block_naming_both_places(
    db: Database, use: Callable[[AsyncSession], Awaitable[object]], used_before: bool
) -> None:
    async with db.get_session() as session:
        if used_before:
            await session.execute(text("SELECT 1"))
    with pytest.raises(SessionEnded) as refused:
        await use(session)
    assert str(refused.value).count(f"{HERE}:") == 2


async def test_no_handle_is_given_for_a_row_that_nobody_commits(
    db: Database, client: TaskClient, nothing: TaskFunction[..., None]
) -> None:
    async with db.get_session() as session:
        await session.execute(text("SELECT 1"))
    with pytest.raises(SessionEnded, match="whose block has ended"):
        await nothing.enqueue(session)
    rows = await db.execute_once(text("SELECT count(*) FROM task"), {})
    assert rows.scalar_one() == 0


async def test_a_background_task_of_a_request_cannot_enqueue_in_the_requests_session(
    db: Database, client: TaskClient, nothing: TaskFunction[..., None]
) -> None:
    app = FastAPI()
    app.state.db = db
    refused: list[Exception] = []

    @app.post("/")
    async def post(session: SessionDep, background: BackgroundTasks) -> None:
        async def later() -> None:
            try:
                await nothing.enqueue(session)
            except SessionEnded as error:
                refused.append(error)

        background.add_task(later)

    async with serving(app) as http:
        assert (await http.post("/")).status_code == 200
    assert len(refused) == 1
    assert "FastAPI's Depends" in str(refused[0])


class Background:
    """An asyncio task that a task function starts and does not await."""

    def __init__(self) -> None:
        self.begun, self.goes_on = asyncio.Event(), asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self, work: Awaitable[None]) -> None:
        self.task = asyncio.ensure_future(work)

    async def error(self) -> BaseException | None:
        assert self.task is not None
        self.goes_on.set()
        return (await asyncio.gather(self.task, return_exceptions=True))[0]


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    made = Background()
    yield made
    if made.task is not None:
        made.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await made.task


KINDS: list[dict[str, Any]] = [{}, {"atomic": False}, {"durable": False}]


@pytest.mark.parametrize("kind", KINDS, ids=["atomic", "separate blocks", "rowless"])
async def test_whoever_opens_a_session_after_the_attempt_is_refused_and_holds_no_connection(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, background: Background,
    kind: dict[str, Any],
) -> None:  # fmt: skip
    @task("leaves.work", max_tries=1, registry=registry, **kind)
    async def leaves_work(ctx: TaskContext) -> str:
        async def later() -> None:
            await background.goes_on.wait()
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "later"})

        background.start(later())
        return "done"

    handle = await client.enqueue(leaves_work)
    await drain()
    assert await handle.result(10) == "done"
    assert isinstance(await background.error(), AttemptOver)
    assert await applied(db) == []


@pytest.mark.parametrize("kind", KINDS, ids=["atomic", "separate blocks", "rowless"])
@pytest.mark.parametrize("joined", [False, True])
async def test_a_session_that_is_open_when_the_function_returns_fails_the_attempt(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, background: Background,
    kind: dict[str, Any], joined: bool,
) -> None:  # fmt: skip
    @task("leaves.open", max_tries=1, registry=registry, **kind)
    async def leaves_open(ctx: TaskContext) -> None:
        async def across() -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "across"})
                background.begun.set()
                await background.goes_on.wait()
                await session.execute(INSERT, {"what": "after"})

        if joined:
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "own"})
        background.start(across())
        await background.begun.wait()

    handle = await client.enqueue(leaves_open)
    await drain()
    with pytest.raises(TaskFailed, match=f"SessionLeftOpen.*{HERE}:"):
        await handle.result(10)
    assert isinstance(await background.error(), AttemptOver)
    assert await applied(db) == (["own"] if joined and kind == {"atomic": False} else [])


@pytest.mark.parametrize("kind", KINDS, ids=["atomic", "separate blocks", "rowless"])
async def test_a_statement_that_runs_when_the_function_returns_holds_no_connection(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, background: Background,
    kind: dict[str, Any],
) -> None:  # fmt: skip
    @task("leaves.running", max_tries=1, registry=registry, **kind)
    async def leaves_running(ctx: TaskContext) -> None:
        async def across() -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "across"})
                background.begun.set()
                await session.execute(text("SELECT pg_sleep(60)"))

        background.start(across())
        await background.begun.wait()
        await asyncio.sleep(0)

    handle = await client.enqueue(leaves_running)
    await drain()
    with pytest.raises(TaskFailed, match="SessionLeftOpen"):
        await handle.result(10)
    assert isinstance(await background.error(), AttemptOver)
    assert await applied(db) == []


async def test_a_commit_after_the_attempt_is_refused(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, background: Background
) -> None:
    @task("commits.late", max_tries=1, registry=registry)
    async def commits_late(ctx: TaskContext) -> None:
        async def across() -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "across"})
                background.begun.set()
                await background.goes_on.wait()  # and leaves the block, which commits

        background.start(across())
        await background.begun.wait()

    await client.enqueue(commits_late)
    await drain()
    assert isinstance(await background.error(), AttemptOver)


async def test_an_attempt_whose_block_was_refused_cannot_succeed_though_it_swallows_that(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    runs: list[int] = []

    @task("swallows", atomic=False, registry=registry)
    async def swallows(ctx: TaskContext) -> int:
        runs.append(ctx["task"].attempt)
        if len(runs) == 1:  # overtaken: a lease was lost, and somebody else has begun
            await db.execute_once(text("UPDATE task SET attempt = attempt + 1"), {})
        with contextlib.suppress(Exception):
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "block"})
        return ctx["task"].attempt

    handle = await client.enqueue(swallows)
    await drain()
    assert not (await handle.status()).settled
    assert await applied(db) == []


@pytest.mark.parametrize("more", [False, True])
async def test_a_session_that_was_entered_by_hand_and_forgotten_fails_the_attempt(
    db: Database, client: TaskClient, registry: Registry, drain: Drain, more: bool
) -> None:
    @task("forgets", max_tries=1, registry=registry)
    async def forgets(ctx: TaskContext) -> None:
        async def helper() -> None:
            block = ctx["db"].get_session()  # dropped with this function, and not before
            session = await block.__aenter__()
            await session.execute(INSERT, {"what": "forgotten"})

        await helper()
        gc.collect()
        if more:
            await asyncio.sleep(0)
            async with ctx["db"].get_session() as session:
                await session.execute(INSERT, {"what": "after"})

    handle = await client.enqueue(forgets)
    await drain()
    with pytest.raises(TaskFailed, match=f"Session(LeftOpen|AlreadyOpen).*{HERE}:"):
        await handle.result(10)
    assert await applied(db) == []


async def test_a_block_that_is_dropped_while_its_session_is_used_fails_the_attempt(
    db: Database, client: TaskClient, registry: Registry, drain: Drain
) -> None:
    @task("drops", max_tries=1, registry=registry)
    async def drops(ctx: TaskContext) -> None:
        session = await ctx["db"].get_session().__aenter__()  # asyncio ends the block from now on
        await session.execute(INSERT, {"what": "dropped"})

    handle = await client.enqueue(drops)
    await drain()
    # At any moment: the statement is refused, or has run and goes with the attempt.
    with pytest.raises(TaskFailed):
        await handle.result(10)
    assert await applied(db) == []
