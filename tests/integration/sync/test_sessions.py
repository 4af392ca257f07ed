"""`uow.sync.enqueue`: in the transaction of a Session, a scoped_session or a Connection."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import uow.sync
from tests.conftest import Drain
from uow import (
    Database,
    EnqueueError,
    InvalidArguments,
    InvalidOptions,
    PayloadTooLarge,
    SchemaError,
    SessionEnded,
    Settings,
    TaskClient,
    TaskContext,
    TaskFunction,
    TaskNotFound,
    TaskRef,
    task,
)
from uow.broker import blocking
from uow.broker.redis import RedisClient
from uow.errors import ClientClosed
from uow.services.relay import Relay
from uow.tasks.registry import Registry
from uow.urls.libpq import LibpqAddress


@pytest.fixture
def stored(engine: Engine) -> Callable[[], int]:
    """How many rows there are."""

    def count() -> int:
        with engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM worker.task")).scalar_one())

    return count


@pytest.fixture
def queued(settings: Settings, sync_client: uow.sync.TaskClient) -> Iterator[Callable[[], int]]:
    """How many jobs were pushed."""
    redis = blocking.connect(settings.redis_url.get_secret_value())

    def count() -> int:
        sync_client.flush()
        found: Any = redis.zcard("arq:queue")
        return int(found)

    yield count
    redis.close()


class TestInTheCallersTransaction:
    def test_a_task_is_pushed_after_the_commit_and_not_before(
        self, engine: Engine, double: TaskFunction[..., int], queued: Callable[[], int]
    ) -> None:
        with Session(engine) as session:
            uow.sync.enqueue(session, double, n=1)
            assert queued() == 0
            session.commit()
            assert queued() == 1

    async def test_the_result_comes_back_in_its_type(
        self, engine: Engine, sync_client: uow.sync.TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("pair", registry=registry)
        async def pair(ctx: TaskContext, n: int) -> tuple[int, str]:
            return n, str(n)

        with Session(engine) as session, session.begin():
            handle = uow.sync.enqueue(session, pair, 3)
        await drain()
        assert handle.result(10) == (3, "3")

    def test_a_rollback_leaves_nothing_anywhere(
        self,
        engine: Engine,
        double: TaskFunction[..., int],
        queued: Callable[[], int],
        stored: Callable[[], int],
    ) -> None:
        with Session(engine) as session:
            handle = uow.sync.enqueue(session, double, n=1)
            session.rollback()
            session.commit()
        assert (queued(), stored()) == (0, 0)
        with pytest.raises(TaskNotFound):
            handle.status()

    def test_what_is_in_a_rolled_back_savepoint_is_not_pushed(
        self,
        engine: Engine,
        double: TaskFunction[..., int],
        queued: Callable[[], int],
        stored: Callable[[], int],
    ) -> None:
        with Session(engine) as session, session.begin():
            with pytest.raises(KeyError), session.begin_nested():
                with session.begin_nested():
                    uow.sync.enqueue(session, double, n=1)
                raise KeyError
        assert (queued(), stored()) == (0, 0)

    def test_what_is_before_a_rolled_back_savepoint_is_pushed(
        self, engine: Engine, double: TaskFunction[..., int], queued: Callable[[], int]
    ) -> None:
        with Session(engine) as session, session.begin():
            uow.sync.enqueue(session, double, n=1)
            session.begin_nested().rollback()
            with session.begin_nested():
                pass
            assert queued() == 0, "the release of a savepoint is no COMMIT"
        assert queued() == 1

    def test_a_scoped_session_is_as_good_as_the_session_in_it(
        self, engine: Engine, double: TaskFunction[..., int], queued: Callable[[], int]
    ) -> None:
        scoped = scoped_session(sessionmaker(engine))
        uow.sync.enqueue_many(scoped, double, [{"n": n} for n in range(3)])
        scoped.commit()
        scoped.remove()
        assert queued() == 3

    def test_a_connection_pushes_after_its_commit(
        self, engine: Engine, double: TaskFunction[..., int], queued: Callable[[], int]
    ) -> None:
        with engine.connect() as connection:
            uow.sync.enqueue(connection, double.options(queue="arq:queue"), n=1)
            assert queued() == 0
            connection.commit()
            assert queued() == 1
            uow.sync.enqueue(connection, double, n=1)
            connection.rollback()
            assert queued() == 1

    def test_a_session_that_joins_a_transaction_is_left_to_the_relay(
        self,
        engine: Engine,
        double: TaskFunction[..., int],
        queued: Callable[[], int],
        stored: Callable[[], int],
    ) -> None:
        with engine.begin() as connection:
            with Session(connection, join_transaction_mode="rollback_only") as session:
                uow.sync.enqueue(session, double, n=1)
                session.commit()
            assert queued() == 0
        assert (queued(), stored()) == (0, 1)

    def test_a_unique_key_gives_the_task_that_is_there(
        self, engine: Engine, double: TaskFunction[..., int], queued: Callable[[], int]
    ) -> None:
        with Session(engine) as session, session.begin():
            first = uow.sync.enqueue(session, double.options(unique_key="k"), n=1)
            again = uow.sync.enqueue(session, double.options(unique_key="k"), n=2)
        assert (first.created, again.created) == (True, False)
        assert first.id == again.id
        assert queued() == 1

    def test_a_task_by_name_and_no_task_at_all(
        self, engine: Engine, stored: Callable[[], int], double: TaskFunction[..., int]
    ) -> None:
        with Session(engine) as session, session.begin():
            uow.sync.enqueue(session, TaskRef("elsewhere"), order=1)
            uow.sync.enqueue(session, "elsewhere", order=1)
            assert uow.sync.enqueue_many(session, double, []) == []
        assert stored() == 2


class TestWithoutAClientOfItsOwn:
    async def test_the_relay_is_told_at_once(
        self, engine: Engine, double: TaskFunction[..., int], db: Database, redis: RedisClient
    ) -> None:
        with Session(engine) as session, session.begin():
            handle = uow.sync.enqueue(session, double, n=1)
        assert await Relay(db, redis).run_once() == 1
        with pytest.raises(ClientClosed, match=r"uow\.sync\.TaskClient\.from_settings"):
            handle.status()

    async def test_the_open_client_of_asyncio_pushes_what_another_thread_commits(
        self, engine: Engine, double: TaskFunction[..., int], client: TaskClient, redis: RedisClient
    ) -> None:
        woken_in: list[int] = []
        wake = client._pusher.wake

        def noted() -> None:
            woken_in.append(threading.get_ident())
            wake()

        client._pusher.wake = noted  # type: ignore[method-assign]

        def request() -> None:
            with Session(engine) as session, session.begin():
                uow.sync.enqueue(session, double, n=1)

        await asyncio.to_thread(request)
        await asyncio.sleep(0)
        assert woken_in == [threading.get_ident()], "an event of asyncio's is for its own thread"
        await client.flush()
        assert await redis.zcard("arq:queue") == 1

    async def test_in_the_greenlet_of_an_async_session(
        self, db: Database, double: TaskFunction[..., int], client: TaskClient, redis: RedisClient
    ) -> None:
        async with db.get_session() as session:
            handle = await session.run_sync(uow.sync.enqueue, double, n=1)
        await client.flush()
        assert await redis.zrange("arq:queue", 0, -1) == [str(handle.id).encode()]


class TestRefused:
    def test_arguments_and_options_that_do_not_fit(
        self, engine: Engine, double: TaskFunction[..., int], stored: Callable[[], int],
        registry: Registry, sync_client: uow.sync.TaskClient,
    ) -> None:  # fmt: skip
        @task("plain", durable=False, registry=registry)
        async def plain(ctx: TaskContext, n: int) -> int:
            return n

        with Session(engine) as session, session.begin():
            with pytest.raises(InvalidArguments):
                uow.sync.enqueue(session, double, n="many")
            with pytest.raises(InvalidArguments):
                uow.sync.enqueue(session, double, m=1)
            with pytest.raises(PayloadTooLarge):
                uow.sync.enqueue(session, "elsewhere", text="x" * 1_100_000)
            with pytest.raises(InvalidOptions, match="durable=False"):
                uow.sync.enqueue(session, plain, n=1)
            with pytest.raises(InvalidOptions, match="one unsettled task, not 2"):
                uow.sync.enqueue_many(session, double.options(unique_key="k"), [{"n": 1}] * 2)
            with pytest.raises(EnqueueError, match="double is no task function"):
                uow.sync.enqueue(session, double.function, n=1)  # type: ignore[call-overload]
        assert stored() == 0

    @pytest.mark.parametrize("of", ["engine", "session"])
    def test_a_connection_that_commits_each_statement_by_itself(
        self, engine: Engine, double: TaskFunction[..., int], stored: Callable[[], int], of: str
    ) -> None:
        level = {"isolation_level": "AUTOCOMMIT"}
        with Session(engine.execution_options(**level) if of == "engine" else engine) as session:
            if of == "session":
                session.connection(execution_options=level)
            with pytest.raises(InvalidOptions, match="commits each statement by itself"):
                uow.sync.enqueue(session, double, n=1)
        assert stored() == 0

    def test_a_session_that_is_closed_for_good(
        self, engine: Engine, double: TaskFunction[..., int]
    ) -> None:
        session = Session(engine, close_resets_only=False)
        session.close()
        with pytest.raises(SessionEnded, match="the Session is closed"):
            uow.sync.enqueue(session, double, n=1)
        connection = engine.connect()
        connection.close()
        with pytest.raises(SessionEnded, match="the Connection is closed"):
            uow.sync.enqueue(connection, double, n=1)

    def test_a_session_of_another_database_than_postgres(
        self, double: TaskFunction[..., int]
    ) -> None:
        with Session(create_engine("sqlite://")) as session:
            with pytest.raises(EnqueueError, match="sqlite.*Postgres") as caught:
                uow.sync.enqueue(session, double, n=1)
        assert "\n" not in str(caught.value)

    def test_a_session_whose_connection_nobody_can_tell(
        self, engine: Engine, double: TaskFunction[..., int], stored: Callable[[], int]
    ) -> None:
        class Routing(Session):
            def get_bind(self, *_: Any, **__: Any) -> Engine:
                return engine

        with Routing() as session, session.begin():
            with pytest.raises(InvalidOptions, match=r"Routing.get_bind.*options\(bind="):
                uow.sync.enqueue(session, double, n=1)
            uow.sync.enqueue(session, double.options(bind=engine), n=1)
        assert stored() == 1

    def test_tables_that_are_not_there_and_the_transaction_goes_on_elsewhere(
        self, driver_name: str, empty_database_url: str, double: TaskFunction[..., int]
    ) -> None:
        engine = create_engine(LibpqAddress.read(empty_database_url, driver_name).url)
        with Session(engine) as session:
            with pytest.raises(SchemaError, match="run `worker migrate` first") as caught:
                uow.sync.enqueue(session, double, n=1)
        assert "\n" not in str(caught.value)
        engine.dispose()

    def test_if_nobody_can_tell_where_the_tables_are_it_is_the_drivers_error(
        self, driver_name: str, empty_database_url: str, double: TaskFunction[..., int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        engine = create_engine(LibpqAddress.read(empty_database_url, driver_name).url)

        def full() -> None:
            raise engine.dialect.loaded_dbapi.OperationalError("too many clients already")

        with Session(engine) as session, monkeypatch.context() as meanwhile:
            meanwhile.setattr(engine.pool, "recreate", full)
            with pytest.raises(ProgrammingError, match="task"):
                uow.sync.enqueue(session, double, n=1)
        engine.dispose()

    def test_a_role_that_may_not(self, engine: Engine, double: TaskFunction[..., int]) -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE ROLE nobody_much"))
        try:
            with Session(engine) as session:
                session.execute(text("SET LOCAL ROLE nobody_much"))
                with pytest.raises(SchemaError, match="GRANT USAGE ON SCHEMA") as caught:
                    uow.sync.enqueue(session, double, n=1)
            assert "\n" not in str(caught.value)
        finally:
            with engine.begin() as connection:
                connection.execute(text("DROP ROLE nobody_much"))


def of_psycopg(engine: Engine) -> object:
    connection = engine.raw_connection()
    try:
        return connection.dbapi_connection
    finally:
        connection.close()


WRONG: dict[str, tuple[Callable[[Engine], object], str]] = {
    "an async session": (lambda _: AsyncSession(), r"asyncio's: write await f\.enqueue\(session"),
    "a driver's connection": (of_psycopg, r"enqueue_with_cursor\(cursor, f"),
    "an engine": (lambda engine: engine, "Engine is no session"),
    "nothing": (lambda _: None, "NoneType is no session: .* as the first argument"),
}


@pytest.mark.parametrize(("caller", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_session_is_told_what_to_write(
    engine: Engine, double: TaskFunction[..., int], caller: Callable[[Engine], object], said: str
) -> None:
    with pytest.raises(EnqueueError, match=said) as caught:
        uow.sync.enqueue(caller(engine), double, n=1)  # type: ignore[call-overload]
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:coroutine 'connect':RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_sync_half_of_an_async_session_away_from_its_greenlet(
    settings: Settings, double: TaskFunction[..., int]
) -> None:
    session = AsyncSession(create_async_engine(settings.require_database().url)).sync_session
    with pytest.raises(EnqueueError, match=r"await f\.enqueue\(session"):
        uow.sync.enqueue(session, double, n=1)
