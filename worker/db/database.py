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

import asyncpg
from sqlalchemy import URL, Result, event
from sqlalchemy import Connection as PooledConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import Pool, PoolProxiedConnection, QueuePool
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.util import greenlet_spawn

from worker.db import direct
from worker.db.connection import Connection
from worker.db.limit import Limit
from worker.db.models import SCHEMA
from worker.db.opening import Opening
from worker.db.provider import session_provider
from worker.db.queries import Queries, queries_for
from worker.db.session import WorkerSession, note_first_errors
from worker.db.transitions import FENCE_SECONDS
from worker.errors import ServerUnreachable
from worker.setting_parts import DatabaseSettings, Pooler
from worker.settings import load_settings

Execute = Callable[[TextClause, Mapping[str, object]], Awaitable[Result[Any]]]
"""Runs a statement with parameters."""

SILENT_SECONDS = 30.0
"""A Postgres that has not answered a statement of ours for so long counts as away. A stopped server
and a network that drops everything end no connection: nobody else would ever tell."""


class Database:
    """The process's way to Postgres. Nothing connects before the first use.

    Args:
        url: ``postgresql+asyncpg://…``; without the driver's name it is added.
        pool_size: Connections that are kept and never exceeded.
        schema: Where our own tables are. Your models are not touched by it.
        pooler: The URL leads to a pooling proxy. True or "transaction": to one that pools
            transactions; no prepared statement outlives its own. "session": to one that keeps a
            connection of the server for each of ours. Of startup parameters neither is sent more
            than a worker's `application_name`, to the second kind. One that is not named is refused
            at the first connection (`SettingsError`).
        fence_seconds: After so long Postgres ends a transaction that stands idle, and with it the
            locks of a process that has stalled or cannot be reached; None: as the server says.
        process: The worker process that this is for. Its sessions carry the name, so that what it
            leaves behind when it dies can be ended; None: it is no worker.
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
        pooler: bool | Pooler = False,
        fence_seconds: float | None = None,
        process: str | None = None,
        expire_on_commit: bool = False,
        autoflush: bool = False,
        **engine_options: Any,
    ) -> None:
        self.schema = schema
        kind: Pooler | None = "transaction" if pooler is True else pooler or None
        self.pooler = kind == "transaction"
        self.queries: Queries = queries_for(schema)
        # How many more than `pool_size` there may be; below 0: any number.
        self._most_beyond: int = engine_options.get("max_overflow", 0)
        self._opening = Opening(
            url,
            engine_options.get("connect_args", {}),
            pooler=kind,
            process=process,
            fence_seconds=fence_seconds,
        )
        self.engine: AsyncEngine = create_async_engine(
            self._opening.url,
            **{
                "pool_size": pool_size,
                "max_overflow": 0,
                "pool_pre_ping": False,
                "pool_use_lifo": True,  # the connection used last knows the statements best
                "hide_parameters": True,  # arguments belong to users, not to logs
                "execution_options": {"schema_translate_map": {SCHEMA: schema}},
                **engine_options,
                "connect_args": self._opening.arguments,
            },
        )
        note_first_errors(self.engine.sync_engine)
        event.listen(self.engine.sync_engine.pool, "checkin", _end_unless_idle)
        event.listen(self.engine.sync_engine.pool, "checkout", _refuse_unless_idle)
        event.listen(self.engine.sync_engine, "do_connect", self._opening.connect)
        self.sessions = async_sessionmaker(
            self.engine,
            class_=WorkerSession,
            expire_on_commit=expire_on_commit,
            autoflush=autoflush,
        )

    @classmethod
    def from_settings(
        cls,
        settings: DatabaseSettings | None = None,
        *,
        fence_seconds: float | None = None,
        process: str | None = None,
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
            process=process,
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
        self,
        statement: TextClause,
        parameters: Mapping[str, object],
        *,
        limit: float = SILENT_SECONDS,
    ) -> Result[Any]:
        """Run one statement in a short transaction of its own and return its buffered rows.

        That is READ COMMITTED, whatever the database's default. What Postgres has undone because of
        another transaction (a deadlock) is repeated once.

        Args:
            limit: Seconds that it may take, the wait for a connection included.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
            ServerUnreachable: Postgres did not answer within `limit`. What it was asked to do it
                may have done, or may still do.
            sqlalchemy.exc.TimeoutError: No connection of the pool came free within `limit`.
        """
        async with self._driver(limit) as driver:
            for begin in (self._must_begin, True):
                try:
                    return await self._execute(driver, begin, statement, parameters)
                except asyncpg.TransactionRollbackError as error:
                    undone = error
            raise undone

    @contextlib.asynccontextmanager
    async def transaction(self, *, limit: float = SILENT_SECONDS) -> AsyncGenerator[Execute, None]:
        """A transaction for several statements of ours, which the yielded function runs.

        It is READ COMMITTED, whatever the database's default, and ended when it stands idle for
        longer than `FENCE_SECONDS`.

        Args:
            limit: Seconds that all of it may take, the wait for a connection included.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
            ServerUnreachable, sqlalchemy.exc.TimeoutError: As `execute_once`.
        """
        async with self._driver(limit) as driver, self._begun(driver):
            yield partial(direct.execute, driver)

    def fence(self, connection: PooledConnection, timeout: float) -> None:
        """Let the transaction that begins next on `connection` be an attempt's.

        Nothing that the attempt leaves behind holds a lock for long: Postgres ends the transaction
        when it has stood idle for `timeout` and `FENCE_SECONDS`, or when its process is gone.
        """
        driver = direct.driver_of(connection.connection)
        driver.begin_with(self._opening.fence(timeout + FENCE_SECONDS))

    @property
    def _must_begin(self) -> bool:
        """Whether a statement of ours needs a BEGIN: known when a connection has been made."""
        # Behind a proxy it keeps parse and execute on one connection of the server.
        return self.pooler or self.engine.dialect.default_isolation_level != "READ COMMITTED"

    async def _execute(
        self,
        driver: Connection,
        begin: bool,
        statement: TextClause,
        parameters: Mapping[str, object],
    ) -> Result[Any]:
        if not begin:
            return await direct.execute(driver, statement, parameters)
        async with self._begun(driver):
            return await direct.execute(driver, statement, parameters)

    @contextlib.asynccontextmanager
    async def _begun(self, driver: Connection) -> AsyncGenerator[None, None]:
        driver.begin_with(f"SET LOCAL idle_in_transaction_session_timeout = '{FENCE_SECONDS}s';")
        async with driver.transaction(isolation="read_committed"):
            yield

    @contextlib.asynccontextmanager
    async def _driver(self, seconds: float) -> AsyncGenerator[Connection, None]:
        """The driver's connection of a pooled one, for `seconds`, the wait for it included."""
        pool = self.engine.sync_engine.pool
        with Limit(seconds) as limit:
            pooled = await self._checked_out(pool, limit, seconds)
            driver = direct.driver_of(pooled)
            limit.bind(driver)
            try:
                yield driver
            except asyncio.CancelledError:
                driver.terminate()  # nobody knows in which state it is; the pool replaces it
                raise
            except Exception as error:
                if driver.is_closed() and limit.is_over:
                    raise _silent(seconds) from error
                raise
            finally:
                limit.lift()  # before somebody else has the connection
                await _give_back(pool, pooled)

    async def _checked_out(self, pool: Pool, limit: Limit, seconds: float) -> PoolProxiedConnection:
        try:
            return await greenlet_spawn(pool.connect)
        except asyncio.CancelledError:
            if not limit.has_cancelled():
                raise
            raise (_exhausted if self._is_exhausted(pool) else _silent)(seconds) from None
        except self.engine.dialect.loaded_dbapi.Error as error:  # which an engine would wrap
            raise error.__cause__ or error from None

    def _is_exhausted(self, pool: Pool) -> bool:
        """Whether who waits for a connection waits for somebody who has one."""
        if not isinstance(pool, QueuePool) or pool.checkedin():
            return False
        return 0 <= self._most_beyond <= pool.overflow()

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


async def _give_back(pool: Pool, pooled: PoolProxiedConnection) -> None:
    """Give back what no transaction of SQLAlchemy's is on; past its greenlet, which takes 10 µs."""
    if isinstance(pool, QueuePool) and pool.overflow() <= 0:
        pooled.close()
    else:  # it may be one too many, and closing it waits
        await greenlet_spawn(pooled.close)


def _silent(limit: float) -> ServerUnreachable:
    return ServerUnreachable(f"Postgres has not answered for {limit:g} s: its connection was ended")


def _exhausted(seconds: float) -> PoolTimeout:
    return PoolTimeout(
        f"no connection to Postgres came free for {seconds:g} s: all of the pool's are in use. "
        "Leave sessions sooner, or set WORKER_POOL_SIZE (in code: pool_size) higher"
    )


def _end_unless_idle(connection: Any, *_: object) -> None:
    """Whatever was done to a connection, who gets it next meets nothing of it."""
    if connection is not None and not connection.driver_connection.is_left_idle():
        connection.driver_connection.terminate()


def _refuse_unless_idle(connection: Any, *_: object) -> None:
    """Let the pool replace a connection that is closed, or was used after it had come back."""
    driver = connection.driver_connection
    driver.begin_with("")  # forget what a BEGIN that was never said would have brought along
    if not driver.is_idle_still():
        driver.terminate()
        raise DisconnectionError("this connection is closed, or somebody else's statement runs")
