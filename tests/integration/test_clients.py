"""Which client a session's tasks belong to, and which of a session's connections they are on."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Delete, ForeignKey, Update, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from typing_extensions import deprecated

from tests.conftest import Drain
from tests.databases import Databases
from uow import (
    Database,
    InvalidOptions,
    Settings,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskFunction,
    task,
)
from uow.errors import AmbiguousClient, ClientClosed
from uow.tasks import outlets
from uow.tasks.registry import Registry


@pytest.fixture
def double(registry: Registry) -> TaskFunction[..., int]:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return double


@pytest.fixture
async def other(
    databases: Databases, template: str, settings: Settings
) -> AsyncIterator[TaskClient]:
    """A client of another database, with a queue of its own, that was opened last."""
    with databases.one(template) as url:
        elsewhere = settings.model_copy(
            update={"database_url": type(settings.redis_url)(url), "queue": "other"}
        )
        async with TaskClient.from_settings(elsewhere) as open_client:
            yield open_client


async def rows(db: Database) -> list[tuple[Any, ...]]:
    found = await db.execute_once(
        text("SELECT queue, dispatch_at > now() AS announced FROM task"), {}
    )
    return [tuple(row) for row in found]


@asynccontextmanager
async def engine_of(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url)
    yield engine
    await engine.dispose()


class TestTheClient:
    async def test_of_a_session_is_found_by_its_engine_and_not_by_what_was_opened_last(
        self, db: Database, client: TaskClient, other: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            first = await double.enqueue(session, n=1)
        async with other.db.get_session() as session:
            second = await double.enqueue(session, n=2)
        assert await rows(db) == [("arq:queue", True)]
        assert await rows(other.db) == [("other", True)]
        await client.flush()
        await other.flush()
        assert await client.redis.zrange("arq:queue", 0, -1) == [str(first.id).encode()]
        assert await client.redis.zrange("other", 0, -1) == [str(second.id).encode()]

    async def test_answers_the_handles_of_its_own_database(
        self, db: Database, client: TaskClient, other: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            first = await double.enqueue(session, n=1)
        second = await other.enqueue(double, n=2)
        assert await first.cancel()
        assert await second.cancel()

    async def test_serves_another_engine_of_the_same_database(
        self, settings: Settings, db: Database, client: TaskClient, other: TaskClient,
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        async with (
            engine_of(settings.require_database().url) as engine,
            AsyncSession(engine) as session,
            session.begin(),
        ):
            await double.enqueue(session, n=1)
        assert await rows(db) == [("arq:queue", True)]

    async def test_is_not_asked_for_a_database_that_it_does_not_lead_to(
        self, db: Database, other: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.get_session() as session:
            await double.enqueue(session, n=1)
        assert await rows(db) == [("other", False)], "the relay of its own database pushes it"

    async def test_leaves_another_database_to_the_queue_of_the_environments_settings(
        self, db: Database, other: TaskClient, double: TaskFunction[..., int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setenv("WORKER_DATABASE_URL", "postgresql://pooler/alias")
        monkeypatch.setenv("WORKER_QUEUE", "settings")
        outlets._environment.cache_clear()
        async with db.get_session() as session:
            await double.enqueue(session, n=1)
        outlets._environment.cache_clear()
        assert await rows(db) == [("settings", False)]

    async def test_that_could_be_one_of_two_is_an_error_and_no_row(
        self, databases: Databases, template: str, client: TaskClient, other: TaskClient,
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        with databases.one(template) as url:
            async with Database(url) as third:
                with pytest.raises(AmbiguousClient, match="'arq:queue' and 'other'"):
                    async with third.get_session() as session:
                        await double.enqueue(session, n=1)
                assert await rows(third) == []

    async def test_that_is_closed_answers_no_handle(
        self, settings: Settings, db: Database, double: TaskFunction[..., int]
    ) -> None:
        async with TaskClient.from_settings(settings, db=db) as client:
            handle = await client.enqueue(double, n=1)
        with pytest.raises(ClientClosed, match="a client that is open"):
            await handle.status()

    async def test_leaves_nothing_on_a_connection_that_lives_long(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int]
    ) -> None:
        async with db.engine.connect() as connection:
            sync = connection.sync_connection
            assert sync is not None
            for _ in range(3):
                async with AsyncSession(connection) as session, session.begin():
                    async with session.begin_nested():
                        await double.enqueue(session, n=1)
                await connection.rollback()
            assert list(sync.dispatch.rollback_savepoint) == []


class Base(DeclarativeBase):
    pass


class Doc(Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent: Mapped[int | None] = mapped_column(
        ForeignKey("doc.id", deferrable=True, initially="DEFERRED")
    )


class OfSQLModel(AsyncSession):
    """Deprecates what SQLModel's does."""

    class SyncHalf(Session):
        @deprecated("use exec()")
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            return super().execute(*args, **kwargs)

        @deprecated("use exec()")
        def query(self, *args: Any, **kwargs: Any) -> Any:
            return super().query(*args, **kwargs)

    sync_session_class = SyncHalf

    @deprecated("use exec()")
    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return await super().execute(*args, **kwargs)


@pytest.fixture
async def engines(db: Database) -> AsyncIterator[tuple[AsyncEngine, AsyncEngine]]:
    """A leader and a follower."""
    async with engine_of(str(db.engine.url)) as leader, engine_of(str(db.engine.url)) as follower:
        async with leader.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield leader, follower


@pytest.fixture
def routing(engines: tuple[AsyncEngine, AsyncEngine]) -> type[Session]:
    """The session of SQLAlchemy's documentation."""
    leader, follower = engines

    class RoutingSession(Session):
        def get_bind(self, mapper: Any = None, clause: Any = None) -> Any:  # type: ignore[override]
            if self._flushing or isinstance(clause, Update | Delete):
                return leader.sync_engine
            return random.choice([follower.sync_engine])

    return RoutingSession


class TestTheConnection:
    async def test_of_a_session_that_chooses_one_for_each_statement_must_be_named(
        self, db: Database, client: TaskClient, routing: type[Session],
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        async with AsyncSession(sync_session_class=routing) as session, session.begin():
            with pytest.raises(InvalidOptions, match=r"RoutingSession.get_bind.*options\(bind="):
                await double.enqueue(session, n=1)
        assert await rows(db) == []

    @pytest.mark.parametrize("fails", [False, True])
    async def test_that_is_named_has_both_or_neither(
        self, db: Database, client: TaskClient, routing: type[Session],
        engines: tuple[AsyncEngine, AsyncEngine], double: TaskFunction[..., int], fails: bool,
    ) -> None:  # fmt: skip
        async with AsyncSession(sync_session_class=routing) as session:
            await session.execute(text("SELECT 1"))  # on the follower
            session.add(Doc(id=1, parent=77 if fails else None))
            await session.flush()
            await double.options(bind=engines[0]).enqueue(session, n=1)
            if fails:
                with pytest.raises(IntegrityError):
                    await session.commit()
            else:
                await session.commit()
        docs = await db.execute_once(text("SELECT count(*) FROM doc"), {})
        assert docs.scalar_one() == len(await rows(db)) == (0 if fails else 1)

    async def test_of_a_session_with_binds_is_named_by_a_mapped_class(
        self, db: Database, client: TaskClient, engines: tuple[AsyncEngine, AsyncEngine],
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        leader, follower = engines
        bound = AsyncSession(follower, binds={Doc: leader})
        written: list[Connection] = []
        event.listen(leader.sync_engine, "commit", written.append)
        async with bound as session, session.begin():
            with pytest.raises(InvalidOptions, match="binds="):
                await double.enqueue(session, n=1)
            await double.options(bind=Doc).enqueue(session, n=1)
        assert len(written) == 1
        assert len(await rows(db)) == 1

    async def test_of_a_session_whose_classes_have_one_bind_is_that(
        self, db: Database, client: TaskClient, engines: tuple[AsyncEngine, AsyncEngine],
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        leader, follower = engines
        async with AsyncSession(binds={Doc: leader}) as session, session.begin():
            await double.enqueue(session, n=1)
            with pytest.raises(InvalidOptions, match="another engine"):
                await double.options(bind=follower).enqueue(session, n=1)
        assert len(await rows(db)) == 1

    async def test_of_a_transaction_that_has_two_must_be_named(
        self, db: Database, client: TaskClient, engines: tuple[AsyncEngine, AsyncEngine],
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        leader, follower = engines
        async with AsyncSession(leader) as session, session.begin():
            await session.execute(text("SELECT 1"), bind_arguments={"bind": follower.sync_engine})
            with pytest.raises(InvalidOptions, match="more than one connection"):
                await double.enqueue(session, n=1)

    @pytest.mark.parametrize("said_of", ["engine", "connection", "transaction"])
    async def test_that_commits_each_statement_by_itself_is_refused(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int], said_of: str
    ) -> None:
        level = {"isolation_level": "AUTOCOMMIT"}
        of_engine = level if said_of == "engine" else {}
        engine = create_async_engine(db.engine.url, **of_engine)
        bound = engine.execution_options(**level) if said_of == "connection" else engine
        async with AsyncSession(bound) as session:
            if said_of == "transaction":
                await session.connection(execution_options=level)
            with pytest.raises(InvalidOptions, match="commits each statement by itself"):
                await double.enqueue(session, n=1)
            await session.rollback()
        await engine.dispose()
        assert await rows(db) == []

    @pytest.mark.parametrize("key", [None, "k"])
    async def test_is_asked_for_without_the_calls_that_a_kind_of_session_deprecates(
        self, db: Database, client: TaskClient, double: TaskFunction[..., int], key: str | None
    ) -> None:
        """SQLModel's session warns of `execute` in twenty lines; here a warning is an error."""
        async with engine_of(str(db.engine.url)) as engine, OfSQLModel(engine) as session:
            for _ in range(2):
                await double.options(unique_key=key).enqueue(session, n=1)
            await session.commit()
        assert len(await rows(db)) == (1 if key else 2)

    async def test_cannot_be_named_for_a_clients_own_transaction(
        self, client: TaskClient, engines: tuple[AsyncEngine, AsyncEngine],
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        with pytest.raises(InvalidOptions, match="for a session of yours"):
            await client.enqueue(double.options(bind=engines[0]), n=1)
        with pytest.raises(InvalidOptions, match="neither an engine nor a mapped class"):
            double.options(bind="leader")  # type: ignore[arg-type]


class TestInsideATask:
    async def test_a_named_engine_is_the_attempts_own_connection(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain,
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        @task("names.engine", max_tries=1, registry=registry)
        async def names_engine(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                engine = (await session.connection()).engine
                await double.options(bind=engine).enqueue(session, n=1)
            raise ValueError("after the block")

        await client.enqueue(names_engine)
        await drain()
        names = await db.execute_once(text("SELECT name FROM task"), {})
        assert names.scalars().all() == ["names.engine"], "what it enqueued is rolled back with it"

    async def test_another_engine_is_refused(
        self, client: TaskClient, registry: Registry, drain: Drain,
        engines: tuple[AsyncEngine, AsyncEngine], double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        @task("names.other", max_tries=1, registry=registry)
        async def names_other(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await double.options(bind=engines[0]).enqueue(session, n=1)

        handle = await client.enqueue(names_other)
        await drain()
        with pytest.raises(TaskFailed, match="another engine than that of this session"):
            await handle.result(10)
