"""In whose transaction a task can be enqueued, and what everybody else is told."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from tests.conftest import Drain
from tests.integration.test_enqueue import nothing_anywhere, rows
from uow import (
    Database,
    EnqueueError,
    InvalidOptions,
    TaskClient,
    TaskContext,
    TaskFunction,
    task,
)
from uow.broker.redis import RedisClient
from uow.tasks.registry import Registry

Scoped = async_scoped_session[AsyncSession]


@pytest.fixture
def double(registry: Registry) -> TaskFunction[..., int]:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return double


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The service's own."""
    made = create_async_engine(database_url)
    yield made
    await made.dispose()


@pytest.fixture
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as made:
        yield made


async def queued(client: TaskClient) -> list[str]:
    await client.flush()
    return [id_.decode() for id_ in await client.redis.zrange("arq:queue", 0, -1)]


class TestAScopedSession:
    @pytest.fixture
    async def scoped(self, engine: AsyncEngine) -> AsyncIterator[Scoped]:
        made = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
        yield made
        await made.remove()

    async def test_it_is_as_good_as_the_session_in_it(
        self, scoped: Scoped, client: TaskClient, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        handle = await double.enqueue(scoped, n=21)
        assert await queued(client) == []
        await scoped.commit()
        assert await queued(client) == [str(handle.id)]
        await drain()
        assert await handle.result(5) == 42

    async def test_without_an_open_client_too(
        self, scoped: Scoped, db: Database, double: TaskFunction[..., int]
    ) -> None:
        await double.enqueue_many(scoped, [{"n": 1}, {"n": 2}])
        await scoped.commit()
        assert await rows(db) == 2

    async def test_its_rollback_leaves_nothing_anywhere(
        self,
        scoped: Scoped,
        db: Database,
        client: TaskClient,
        redis: RedisClient,
        double: TaskFunction[..., int],
    ) -> None:
        await double.enqueue(scoped, n=1)
        await scoped.rollback()
        assert await nothing_anywhere(db, client, redis)


class TestAConnection:
    async def test_a_task_is_pushed_after_its_commit_and_not_before(
        self,
        connection: AsyncConnection,
        client: TaskClient,
        double: TaskFunction[..., int],
        drain: Drain,
    ) -> None:
        handle = await double.enqueue(connection, n=21)
        assert await queued(client) == []
        await connection.commit()
        assert await queued(client) == [str(handle.id)]
        await drain()
        assert await handle.result(5) == 42

    async def test_a_transaction_as_a_block_does_as_well(
        self, engine: AsyncEngine, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        async with engine.begin() as connection:
            handles = await double.enqueue_many(connection, [{"n": 1}, {"n": 2}])
            assert await queued(client) == []
        assert sorted(await queued(client)) == sorted(str(handle.id) for handle in handles)

    async def test_that_commits_each_statement_by_itself_is_refused(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        engine = create_async_engine(db.engine.url, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(InvalidOptions, match="commits each statement by itself"):
                await double.enqueue(connection, n=1)
        await engine.dispose()
        found = await db.execute_once(text("SELECT FROM task"), {})
        assert found.first() is None

    async def test_a_rollback_leaves_nothing_anywhere(
        self,
        connection: AsyncConnection,
        db: Database,
        client: TaskClient,
        redis: RedisClient,
        double: TaskFunction[..., int],
    ) -> None:
        await double.enqueue(connection, n=1)
        await connection.rollback()
        await connection.execute(text("SELECT 1"))
        await connection.commit()
        assert await nothing_anywhere(db, client, redis)

    async def test_a_commit_that_fails_leaves_nothing_anywhere(
        self,
        connection: AsyncConnection,
        db: Database,
        client: TaskClient,
        redis: RedisClient,
        double: TaskFunction[..., int],
    ) -> None:
        await connection.execute(
            text("CREATE TEMP TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        )
        await connection.execute(text("INSERT INTO once VALUES (1), (1)"))
        await double.enqueue(connection, n=1)
        with pytest.raises(Exception, match="once_n_key"):
            await connection.commit()
        await connection.rollback()
        assert await nothing_anywhere(db, client, redis)

    async def test_what_a_rolled_back_savepoint_holds_is_not_pushed(
        self,
        connection: AsyncConnection,
        db: Database,
        client: TaskClient,
        double: TaskFunction[..., int],
    ) -> None:
        kept = await double.enqueue(connection, n=1)
        async with connection.begin_nested() as savepoint:
            await double.enqueue(connection, n=2)
            await savepoint.rollback()
        await connection.commit()
        assert await queued(client) == [str(kept.id)]
        assert await rows(db) == 1

    async def test_one_transaction_after_another(
        self, connection: AsyncConnection, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        first = await double.enqueue(connection, n=1)
        await connection.commit()
        await double.enqueue(connection, n=2)
        await connection.rollback()
        third = await double.enqueue(connection, n=3)
        await connection.commit()
        assert sorted(await queued(client)) == sorted([str(first.id), str(third.id)])

    async def test_a_unique_key_gives_the_existing_task(
        self, connection: AsyncConnection, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        keyed = double.options(unique_key="one")
        first = await keyed.enqueue(connection, n=1)
        again = await keyed.enqueue(connection, n=1)
        assert (again.id, again.created) == (first.id, False)
        await connection.commit()
        assert await queued(client) == [str(first.id)]

    async def test_the_connection_of_a_session_is_pushed_after_the_sessions_commit(
        self, engine: AsyncEngine, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        async with async_sessionmaker(engine)() as session:
            handle = await double.enqueue(await session.connection(), n=1)
            assert await queued(client) == []
            await session.commit()
        assert await queued(client) == [str(handle.id)]

    async def test_inside_a_task_it_belongs_to_the_attempt(
        self, client: TaskClient, registry: Registry, double: TaskFunction[..., int], drain: Drain
    ) -> None:
        @task("parent", registry=registry)
        async def parent(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await double.enqueue(await session.connection(), n=1)

        handle = await client.enqueue(parent)
        await drain()
        assert await handle.result(5) is None  # type: ignore[func-returns-value]
        assert await rows(client.db) == 2

    async def test_another_engine_is_not_what_it_is_on(
        self, connection: AsyncConnection, db: Database, double: TaskFunction[..., int]
    ) -> None:
        with pytest.raises(InvalidOptions, match="another engine than that of this connection"):
            await double.options(bind=db.engine).enqueue(connection, n=1)
        await double.options(bind=connection.engine).enqueue(connection, n=1)


SYNCHRONOUS = (
    r"is a synchronous one: write uow\.sync\.enqueue\(session, f, …\), or use an AsyncSession"
)

WRONG: dict[str, tuple[Callable[[TaskClient], object], str]] = {
    "a session": (lambda _: Session(), rf"sqlalchemy\.orm\.session\.Session {SYNCHRONOUS}"),
    "a scoped session": (lambda _: scoped_session(sessionmaker()), SYNCHRONOUS),
    "a client": (
        lambda client: client,
        r"TaskClient is no session: write client\.enqueue\(f, …\) .* or f\.enqueue\(session, …\)",
    ),
    "a database": (lambda client: client.db, "Database is no session: .* needs an AsyncSession"),
    "a factory": (lambda client: client.db.sessions, "async_sessionmaker is no session"),
    "nothing": (lambda _: None, "NoneType is no session"),
    "an argument": (lambda _: 1, "int is no session: .* as the first argument"),
}


@pytest.mark.parametrize(("caller", "said"), WRONG.values(), ids=WRONG)
async def test_what_is_no_session_is_told_what_to_write(
    client: TaskClient,
    double: TaskFunction[..., int],
    caller: Callable[[TaskClient], object],
    said: str,
) -> None:
    with pytest.raises(EnqueueError, match=said) as caught:
        await double.enqueue(caller(client), n=1)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_synchronous_connection_is_told_so(double: TaskFunction[..., int]) -> None:
    with create_engine("sqlite://").connect() as connection:
        with pytest.raises(EnqueueError, match=SYNCHRONOUS):
            asyncio.run(double.enqueue(connection, n=1))  # type: ignore[arg-type]


@pytest.mark.parametrize("in_a_session", [True, False])
async def test_an_error_that_only_postgres_can_explain_is_not_its_own_cause(
    db: Database, client: TaskClient, double: TaskFunction[..., int], in_a_session: bool
) -> None:
    async with db.get_session() as session:
        await session.execute(text("ALTER TABLE worker.task RENAME COLUMN args TO others"))
    with pytest.raises(Exception, match="args") as caught:
        if in_a_session:
            async with db.get_session() as session:
                await double.enqueue(session, n=1)
        else:
            await client.enqueue(double, n=1)
    assert caught.value.__cause__ is not caught.value
