"""`async with db.get_session()`: leaving commits, an exception rolls back, a commit never lies."""

import asyncio
import socket

import asyncpg
import pytest
from sqlalchemy import bindparam, make_url, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.pools import checked_out
from tests.proxy import Proxy
from uow import Database, TransactionAborted
from uow.db.direct import driver_of
from uow.db.failures import PASSING
from uow.db.server import ping
from uow.db.session import aborted_by
from uow.embedded import EmbeddedPostgres
from uow.errors import ServerUnreachable, SettingsError
from worker.models import User


@pytest.fixture(scope="session")
def template(application_template: str) -> str:
    """With a table of somebody's own, that of the application's users."""
    return application_template


def a_user(name: str) -> User:
    return User(username=name, email=f"{name}@example.org")


async def usernames(db: Database) -> list[str]:
    async with db.get_session() as session:
        return list(await session.scalars(select(User.username).order_by(User.username)))


async def test_nothing_connects_in_the_constructor() -> None:
    async with Database("postgresql://nobody@127.0.0.1:1/nothing") as db:
        assert checked_out(db) == 0


async def test_leaving_the_block_commits(db: Database) -> None:
    async with db.get_session() as session:
        session.add(a_user("ada"))
    assert await usernames(db) == ["ada"]
    assert checked_out(db) == 0


async def test_objects_can_be_read_after_the_block(db: Database) -> None:
    async with db.get_session() as session:
        user = a_user("ada")
        session.add(user)
    assert user.username == "ada"


async def test_an_exception_rolls_back_and_is_raised_unchanged(db: Database) -> None:
    error = RuntimeError("mine")
    with pytest.raises(RuntimeError) as caught:
        async with db.get_session() as session:
            session.add(a_user("ada"))
            await session.flush()
            raise error
    assert caught.value is error
    assert await usernames(db) == []
    assert checked_out(db) == 0


async def test_a_cancellation_rolls_back_and_is_raised_unchanged(db: Database) -> None:
    inside = asyncio.Event()

    async def block() -> None:
        async with db.get_session() as session:
            session.add(a_user("ada"))
            await session.flush()
            inside.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(block())
    await inside.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await usernames(db) == []
    assert checked_out(db) == 0


async def test_a_cancelled_query_leaves_no_connection_checked_out(db: Database) -> None:
    async def block() -> None:
        async with db.get_session() as session:
            await session.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await block()
    assert checked_out(db) == 0


async def test_concurrent_blocks_have_sessions_of_their_own(db: Database) -> None:
    async def create(name: str) -> None:
        async with db.get_session() as session:
            session.add(a_user(name))

    await asyncio.gather(*(create(name) for name in ("ada", "bob", "cyd")))
    assert await usernames(db) == ["ada", "bob", "cyd"]


async def test_a_swallowed_failed_execute_raises_on_exit(db: Database) -> None:
    with pytest.raises(TransactionAborted, match="relation .*nowhere.* does not exist"):
        async with db.get_session() as session:
            session.add(a_user("ada"))
            await session.flush()
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT * FROM nowhere"))
    assert await usernames(db) == []
    assert checked_out(db) == 0


@pytest.mark.parametrize("said", ["", "x\n[SQL: a secret]"])
def test_who_aborted_a_transaction_is_named_whatever_it_says(said: str) -> None:
    told = str(aborted_by(TimeoutError(said)))
    assert f"(TimeoutError: {said[:1]})" in told


async def test_a_swallowed_failed_execute_raises_on_commit(db: Database) -> None:
    async with db.get_session() as session:
        session.add(a_user("ada"))
        await session.flush()
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT 1/0"))
        with pytest.raises(TransactionAborted, match="division by zero"):
            await session.commit()
        await session.rollback()
    assert await usernames(db) == []


async def test_a_swallowed_failed_flush_raises_on_exit(db: Database) -> None:
    async with db.get_session() as session:
        session.add(a_user("ada"))
    with pytest.raises(TransactionAborted, match="duplicate key"):
        async with db.get_session() as session:
            session.add(a_user("bob"))
            await session.flush()
            session.add(User(username="ada", email="other@example.org"))
            with pytest.raises(IntegrityError):
                await session.flush()
    assert await usernames(db) == ["ada"]
    assert checked_out(db) == 0


async def test_a_swallowed_failed_flush_raises_on_commit(db: Database) -> None:
    async with db.get_session() as session:
        session.add_all([a_user("ada"), User(username="ada", email="other@example.org")])
        with pytest.raises(IntegrityError):
            await session.flush()
        with pytest.raises(TransactionAborted, match="duplicate key"):
            await session.commit()
        await session.rollback()
    assert await usernames(db) == []


async def test_the_first_of_several_errors_is_named(db: Database) -> None:
    with pytest.raises(TransactionAborted, match="division by zero"):
        async with db.get_session() as session:
            for statement in ("SELECT 1/0", "SELECT * FROM nowhere"):
                with pytest.raises(DBAPIError):
                    await session.execute(text(statement))


async def test_an_error_inside_begin_nested_does_not_count(db: Database) -> None:
    async with db.get_session() as session:
        session.add(a_user("ada"))
        await session.flush()
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await session.execute(text("SELECT 1/0"))
    assert await usernames(db) == ["ada"]


async def test_an_error_before_a_rollback_does_not_count(db: Database) -> None:
    async with db.get_session() as session:
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT 1/0"))
        await session.rollback()
        session.add(a_user("ada"))
    assert await usernames(db) == ["ada"]


async def test_an_error_that_the_server_never_saw_does_not_count(db: Database) -> None:
    async with db.get_session() as session:
        session.add(a_user("ada"))
        with pytest.raises(DBAPIError):  # the driver cannot encode the parameter
            await session.execute(text("SELECT CAST(:n AS integer) + 1"), {"n": "x"})
    assert await usernames(db) == ["ada"]


async def test_a_failing_commit_is_raised_and_leaves_nothing(db: Database) -> None:
    await db.execute_once(
        text("CREATE TABLE child (user_id bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED)"),
        {},
    )
    with pytest.raises(IntegrityError):
        async with db.get_session() as session:
            await session.execute(text("INSERT INTO child VALUES (999)"))
            session.add(a_user("ada"))
    assert await usernames(db) == []
    assert checked_out(db) == 0


async def test_a_connection_that_the_server_closed_is_replaced_unnoticed(db: Database) -> None:
    closed = asyncio.Event()
    async with db.get_session() as session:
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
        raw = await (await session.connection()).get_raw_connection()
        driver_of(raw).add_termination_listener(lambda _: closed.set())
    async with Database(db.engine.url) as other:
        await other.execute_once(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    await closed.wait()
    assert await usernames(db) == []


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
async def test_the_url_of_a_hosted_database_will_do(scheme: str, database_url: str) -> None:
    url = database_url.replace("postgresql+asyncpg", scheme) + "&sslmode=prefer"
    async with Database(url) as db:
        await db.ping()


async def test_a_statement_without_an_answer_is_given_up_after_its_limit_and_counts_as_away(
    db: Database,
) -> None:
    forever = text("SELECT pg_sleep(3600)")
    with pytest.raises(ServerUnreachable, match="not answered for 0.05 s") as caught:
        await db.execute_once(forever, {}, limit=0.05)
    assert isinstance(caught.value, PASSING)
    with pytest.raises(ServerUnreachable):
        async with db.transaction(limit=0.05) as transaction:
            await transaction.execute(forever, {})
    assert checked_out(db) == 0
    await db.ping()


async def test_a_server_that_says_nothing_at_all_is_given_up_too() -> None:
    hung_up = asyncio.Event()

    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    async with await asyncio.start_server(listen_only, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Database(f"postgresql://postgres@127.0.0.1:{port}/x") as db:
            with pytest.raises(ServerUnreachable):
                await ping(db, limit=0.05)
            assert checked_out(db) == 0
            await hung_up.wait()


async def test_the_kernel_finds_out_that_a_server_is_not_to_be_reached_any_more() -> None:
    async with EmbeddedPostgres(tcp=True) as server, Database(server.url) as db:
        async with db.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            ours = driver_of(raw)._transport.get_extra_info("socket")
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            # While something sent is not acknowledged it does not ask: that has a limit of its own.
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000


async def test_a_connection_that_falls_silent_is_not_waited_for() -> None:
    """Neither by the statement nor by what follows: asyncpg would ask the server to cancel."""
    async with EmbeddedPostgres(tcp=True) as server:
        url = make_url(server.url)
        async with Proxy(str(url.host), url.port or 0).listening() as proxy:
            through = url.set(host="127.0.0.1", port=proxy.port)
            async with Database(through) as db:
                await db.ping()
                proxy.passes.clear()
                for _ in range(2):
                    with pytest.raises(ServerUnreachable):
                        await ping(db, limit=0.05)
                proxy.passes.set()
                await db.ping()


async def test_an_argument_that_the_driver_does_not_know_is_told(database_url: str) -> None:
    async with Database(database_url, connect_args={"shmode": "x"}) as db:
        with pytest.raises(SettingsError, match="asyncpg does not know: .*'shmode'"):
            await db.ping()


async def test_parameters_do_not_show_in_errors(db: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with db.get_session() as session:
            await session.execute(text("SELECT 1/0, :secret"), {"secret": "canary-4711"})
    assert "canary-4711" not in str(caught.value)


async def test_engine_options_can_be_set(database_url: str) -> None:
    async with Database(database_url, expire_on_commit=True, autoflush=True, echo=False) as db:
        assert db.sessions.kw["expire_on_commit"] is True
        assert db.sessions.kw["autoflush"] is True


async def test_a_database_that_cannot_be_connected_to_is_an_error_that_services_survive(
    db: Database,
) -> None:
    async with Database(db.engine.url.set(database="missing")) as other:
        with pytest.raises(asyncpg.InvalidCatalogNameError) as caught:
            await other.execute_once(text("SELECT 1"), {})
    assert isinstance(caught.value, PASSING)


async def test_a_single_statement_takes_typed_parameters_and_defaults(db: Database) -> None:
    statement = text("SELECT CAST(:json AS jsonb) ->> 'a', CAST(:n AS integer)").bindparams(
        bindparam("json", type_=JSONB), n=3
    )
    assert (await db.execute_once(statement, {"json": {"a": "b"}})).one() == ("b", 3)
    with pytest.raises(KeyError, match="json"):
        await db.execute_once(statement, {})
