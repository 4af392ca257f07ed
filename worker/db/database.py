"""One engine and one session factory per process.

The rule, in one sentence: leaving ``async with db.get_session() as session`` normally commits;
leaving it by any exception, cancellation included, rolls back; the session is always closed.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

from sqlalchemy import URL, Result, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.util import greenlet_spawn

from worker import exhaustion
from worker.db import direct
from worker.db.connection import Connection
from worker.db.models import SCHEMA
from worker.db.provider import session_provider
from worker.db.queries import Queries, queries_for
from worker.db.session import WorkerSession, note_first_errors
from worker.errors import ServerUnreachable, SettingsError
from worker.settings import DatabaseSettings, load_settings

Execute = Callable[[TextClause, Mapping[str, object]], Awaitable[Result[Any]]]
"""Runs a statement with parameters."""


class Database:
    """The process's way to Postgres. Nothing connects before the first use.

    Args:
        url: ``postgresql+asyncpg://…``; without the driver's name it is added.
        pool_size: Connections that are kept and never exceeded.
        schema: Where our own tables are. Your models are not touched by it.
        pooler: The URL leads to a transaction-pooling proxy: no prepared statement outlives its
            transaction and no startup parameter is sent.
        fence_seconds: After so long Postgres ends a transaction that stands idle, and with it the
            locks of a process that has stalled or cannot be reached; None: as the server says.
        expire_on_commit: As in SQLAlchemy; off, so that objects can be read after the block.
        autoflush: As in SQLAlchemy; off, so that a query never writes.
        **engine_options: Passed to `create_async_engine`.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        pool_size: int = 10,
        schema: str = "public",
        pooler: bool = False,
        fence_seconds: float | None = None,
        expire_on_commit: bool = False,
        autoflush: bool = False,
        **engine_options: Any,
    ) -> None:
        self.schema = schema
        self.pooler = pooler
        self.queries: Queries = queries_for(schema)
        self.engine: AsyncEngine = create_async_engine(
            _with_driver(url),
            **{
                "pool_size": pool_size,
                "max_overflow": 0,
                "pool_pre_ping": False,
                "pool_use_lifo": True,  # the connection used last knows the statements best
                "hide_parameters": True,  # arguments belong to users, not to logs
                "execution_options": {"schema_translate_map": {SCHEMA: schema}},
                **engine_options,
                "connect_args": {
                    **(_for_pooler() if pooler else _fence(fence_seconds)),
                    **engine_options.get("connect_args", {}),
                    "connection_class": Connection,
                },
            },
        )
        note_first_errors(self.engine.sync_engine)
        event.listen(self.engine.sync_engine.pool, "checkout", _refuse_closed)
        event.listen(self.engine.sync_engine, "do_connect", _connect)
        self.sessions = async_sessionmaker(
            self.engine,
            class_=WorkerSession,
            expire_on_commit=expire_on_commit,
            autoflush=autoflush,
        )

    @classmethod
    def from_settings(
        cls, settings: DatabaseSettings | None = None, *, fence_seconds: float | None = None
    ) -> Self:
        """Build it from the settings; without any, from the environment.

        Raises:
            SettingsError: `WORKER_DATABASE_URL` is not set or malformed.
        """
        part = settings or load_settings().require_database()
        return cls(
            part.url,
            pool_size=part.pool_size,
            schema=part.schema,
            pooler=part.pooler,
            fence_seconds=fence_seconds,
        )

    @session_provider
    async def get_session(self) -> AsyncGenerator[AsyncSession, None]:
        """A session: ``async with db.get_session()`` or ``Depends(db.get_session, scope="function")``.

        As a FastAPI dependency it needs ``scope="function"``: only then is the commit done before
        the response is sent. `worker.SessionDep` has it built in.

        Raises:
            TransactionAborted: On leaving, if a swallowed error had aborted the transaction.
        """  # noqa: E501
        async with self.sessions() as session:
            yield session
            await session.commit()

    async def execute_once(
        self, statement: TextClause, parameters: Mapping[str, object]
    ) -> Result[Any]:
        """Run one statement in a short transaction of its own and return its buffered rows.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
        """
        if self.pooler:  # a transaction keeps parse and execute on one connection of the server
            async with self.transaction() as execute:
                return await execute(statement, parameters)
        async with self._driver() as driver:
            return await direct.execute(driver, statement, parameters)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Execute, None]:
        """A transaction for several statements, which the yielded function runs.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
        """
        async with self._driver() as driver, driver.transaction():
            yield partial(direct.execute, driver)

    @contextlib.asynccontextmanager
    async def _driver(self) -> AsyncGenerator[Connection, None]:
        """The driver's connection of a pooled one."""
        engine = self.engine.sync_engine
        try:
            pooled = await greenlet_spawn(engine.pool.connect)
        except engine.dialect.loaded_dbapi.Error as error:  # which an engine would wrap
            raise error.__cause__ or error from None
        driver = direct.driver_of(pooled)
        try:
            yield driver
        except asyncio.CancelledError:
            driver.terminate()  # nobody knows in which state it is; the pool replaces it
            raise
        finally:
            await greenlet_spawn(pooled.close)

    async def ping(self) -> None:
        """One round trip; raises what the driver raises when Postgres does not answer."""
        await self.execute_once(self.queries.ping, {})

    async def dispose(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.dispose()


def _refuse_closed(connection: Any, *_: object) -> None:
    """Let the pool replace a connection that the server has closed: a ping without a round trip."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server has closed this connection")


def _connect(
    dialect: Dialect, _: object, arguments: tuple[Any, ...], options: dict[str, Any]
) -> DBAPIConnection:
    """Connect, telling a server that is away apart from the OSErrors of user code."""
    try:
        return dialect.connect(*arguments, **options)
    except OSError as error:
        why = exhaustion.here.explains(error) or f"Postgres cannot be reached ({error})"
        raise ServerUnreachable(why) from error
    except TypeError as error:
        raise SettingsError(
            f"the database URL has a parameter that asyncpg does not know: {error}"
        ) from error


def _with_driver(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(
            "the database URL is not a URL; for example postgresql+asyncpg://user:password@host/db"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+asyncpg")
    if "sslmode" in parsed.query:  # libpq's word, which hosted databases hand out
        mode = parsed.query["sslmode"]
        return parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parsed


def _fence(seconds: float | None) -> dict[str, Any]:
    if seconds is None:
        return {}
    settings = {
        "idle_in_transaction_session_timeout": f"{int(seconds * 1000)}ms",
        # A worker that cannot be reached any more is found out by the server itself.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    return {"server_settings": settings}


def _for_pooler() -> dict[str, Any]:
    # An unnamed statement lives until the next one is parsed, which within one transaction, and
    # so on one server connection, is never before it was executed.
    return {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    }
