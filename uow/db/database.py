"""One engine and one session factory per process.

The rule, in one sentence: leaving ``async with db.get_session() as session`` normally commits;
leaving it by any exception, cancellation included, rolls back; the session is always closed.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, overload

import asyncpg
from sqlalchemy import URL, Result, event
from sqlalchemy.ext import asyncio as engines
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
)
from sqlalchemy.sql.elements import TextClause

from uow.db import direct, server
from uow.db.begun_attempt import BegunAttempt
from uow.db.connection import Connection
from uow.db.fragments import FENCE_SECONDS
from uow.db.models import SCHEMA
from uow.db.opening import Opening
from uow.db.pool import driver_for, hand_over_as_new
from uow.db.provider import session_provider
from uow.db.session import WorkerSession, note_first_errors
from uow.db.statement import SILENT_SECONDS as SILENT_SECONDS
from uow.db.statement import Records, Statement
from uow.db.transaction import Transaction
from uow.settings.environment import Settings, load_settings
from uow.settings.parts import DEFAULT_SCHEMA, DatabaseSettings, Pooler
from uow.urls.engine import Address


class Database:
    """The process's way to Postgres. Nothing connects before the first use.

    Args:
        url: ``postgresql+asyncpg://…``, or as providers have it: with libpq's words, several hosts.
        pool_size: Connections that are kept and never exceeded.
        schema: Where our own tables are; None: in `worker`, and if they are elsewhere, that is told
            instead of making them anew. Your models are not touched by it.
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
        schema: str | None = None,
        pooler: bool | Pooler = False,
        fence_seconds: float | None = None,
        process: str | None = None,
        expire_on_commit: bool = False,
        autoflush: bool = False,
        **engine_options: Any,
    ) -> None:
        self.schema = DEFAULT_SCHEMA if schema is None else schema
        self.schema_is_given = schema is not None
        address = Address.read(url)
        kind = _kind_of(pooler or address.is_pooled)
        self.pooler = kind == "transaction"
        self._proxied = kind is not None
        # How many more than `pool_size` there may be; below 0: any number.
        self._most_beyond: int = engine_options.get("max_overflow", 0)
        self._opening = Opening(
            address,
            engine_options.get("connect_args", {}),
            pooler=kind,
            process=process,
            fence_seconds=fence_seconds,
        )
        self.engine = self._make_engine(address.url, {"pool_size": pool_size, **engine_options})
        self.sessions = async_sessionmaker(
            self.engine,
            class_=WorkerSession,
            expire_on_commit=expire_on_commit,
            autoflush=autoflush,
        )

    def _make_engine(self, url: URL, given: Mapping[str, Any]) -> AsyncEngine:
        options = {
            "max_overflow": 0,
            "pool_pre_ping": False,
            "pool_use_lifo": True,  # the connection used last knows the statements best
            "hide_parameters": True,  # arguments belong to users, not to logs
            "execution_options": {"schema_translate_map": {SCHEMA: self.schema}},
        }
        # Looked up only now: who traces SQL has put a function of theirs in its place.
        engine = engines.create_async_engine(
            url, **{**options, **given, "connect_args": self._opening.arguments}
        )
        note_first_errors(engine.sync_engine)
        hand_over_as_new(engine.sync_engine.pool)
        event.listen(engine.sync_engine, "do_connect", self._opening.connect)
        return engine

    @classmethod
    def from_settings(
        cls,
        settings: DatabaseSettings | Settings | None = None,
        *,
        fence_seconds: float | None = None,
        process: str | None = None,
    ) -> Self:
        """Build it from the settings; without any, from the environment.

        Raises:
            SettingsError: `WORKER_DATABASE_URL` is not set or malformed.
        """
        given = settings or load_settings()
        part = given.require_database() if isinstance(given, Settings) else given
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

        It does not flush before a query (``autoflush=False``): what was added is found after
        ``await session.flush()``. What is SET in Postgres ends with each ``commit()`` or
        ``rollback()``, which give the connection back: SET it anew after it, or use SET LOCAL.

        As a FastAPI dependency it needs ``scope="function"``: only then is the commit done before
        the response is sent. `uow.SessionDep` has it built in.

        Raises:
            TransactionAborted: On leaving, if a swallowed error had aborted the transaction.
        """  # noqa: E501
        async with self.sessions() as session:
            yield session
            await session.commit()

    @overload
    async def execute_once(
        self, statement: Statement, *, limit: float = SILENT_SECONDS
    ) -> Records: ...

    @overload
    async def execute_once(
        self,
        statement: TextClause,
        parameters: Mapping[str, object],
        *,
        limit: float = SILENT_SECONDS,
    ) -> Result[Any]: ...

    async def execute_once(
        self,
        statement: Statement | TextClause,
        parameters: Mapping[str, object] | None = None,
        *,
        limit: float = SILENT_SECONDS,
    ) -> Records | Result[Any]:
        """Run one statement in a short transaction of its own and return its buffered rows.

        That is READ COMMITTED, whatever the database's default. What Postgres has undone because of
        another transaction (a deadlock) is repeated once.

        Args:
            parameters: Those of a text.
            limit: Seconds that it may take, the wait for a connection included.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
            ServerUnreachable: Postgres did not answer within `limit`. What it was asked to do it
                may have done, or may still do.
            sqlalchemy.exc.TimeoutError: No connection of the pool came free within `limit`.
        """
        if isinstance(statement, Statement):
            return await self._fetch_once(*statement.for_driver(self.schema), limit)
        said = direct.written(statement, parameters or {})
        return direct.result_of(await self._fetch_once(*said, limit))

    async def _fetch_once(self, sql: str, values: Sequence[object], limit: float) -> Records:
        async with self._driver(limit) as driver:
            with contextlib.suppress(asyncpg.TransactionRollbackError):
                return await self._fetch(driver, self._must_begin, sql, values)
            return await self._fetch(driver, True, sql, values)

    @contextlib.asynccontextmanager
    async def transaction(
        self, *, limit: float = SILENT_SECONDS
    ) -> AsyncGenerator[Transaction, None]:
        """A transaction for several statements of ours.

        It is READ COMMITTED, whatever the database's default, and ended when it stands idle for
        longer than `FENCE_SECONDS`.

        Args:
            limit: Seconds that all of it may take, the wait for a connection included.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
            ServerUnreachable, sqlalchemy.exc.TimeoutError: As `execute_once`.
        """
        async with self._driver(limit) as driver, self._begun(driver):
            yield Transaction(driver, self.schema)

    def begin_attempt(self, timeout: float) -> BegunAttempt:
        """What an attempt works on that may take `timeout` seconds; no connection is taken yet."""
        fence = partial(self.fence, timeout=timeout)
        return BegunAttempt(self.engine.sync_engine, self.schema, self.sessions.kw, fence)

    def fence(self, driver: Connection, timeout: float) -> None:
        """Let the transaction that begins next on `driver` be an attempt's.

        Nothing that the attempt leaves behind holds a lock for long: Postgres ends the transaction
        when it has stood idle for `timeout` and `FENCE_SECONDS`, or when its process is gone.
        """
        driver.begin_with(self._opening.fence(timeout + FENCE_SECONDS))

    @property
    def _must_begin(self) -> bool:
        """Whether a statement of ours needs a BEGIN: known when a connection has been made."""
        # Behind a proxy it keeps parse and execute on one connection of the server.
        return self.pooler or self.engine.dialect.default_isolation_level != "READ COMMITTED"

    async def _fetch(
        self, driver: Connection, begin: bool, sql: str, values: Sequence[object]
    ) -> Records:
        if not begin:
            return await direct.fetch(driver, sql, values)
        async with self._begun(driver):
            return await direct.fetch(driver, sql, values)

    @contextlib.asynccontextmanager
    async def _begun(self, driver: Connection) -> AsyncGenerator[None, None]:
        driver.begin_with(f"SET LOCAL idle_in_transaction_session_timeout = '{FENCE_SECONDS}s';")
        async with driver.transaction(isolation="read_committed"):
            yield

    def _driver(self, seconds: float) -> contextlib.AbstractAsyncContextManager[Connection]:
        return driver_for(
            self.engine.sync_engine, seconds, self._most_beyond, proxied=self._proxied
        )

    async def ping(self) -> None:
        """One round trip; raises what the driver raises when Postgres does not answer."""
        await server.ping(self)

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


def _kind_of(pooler: bool | Pooler) -> Pooler | None:
    return "transaction" if pooler is True else pooler or None
