"""The kit's `Database`: the product's own, for all that anybody sees, in the test's transaction."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, overload

from sqlalchemy import Result
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.sql.elements import TextClause

from uow.db import direct
from uow.db.begun_attempt import Begun
from uow.db.database import Database
from uow.db.provider import session_provider
from uow.db.session import WorkerSession
from uow.db.statement import SILENT_SECONDS, Records, Statement
from uow.testing.nested_attempt import NestedAttempt
from uow.testing.outer import OuterTransaction
from uow.testing.troubles import Troubles


class NestedDatabase(Database):
    """A `Database` whose transactions are savepoints on the test's connection.

    So it serves as ``app.state.db``, too: a request's session "commits" into the test.
    """

    def __init__(self, outer: OuterTransaction, troubles: Troubles, schema: str) -> None:
        # It makes no engine: the connection is there.
        self.schema = schema
        self.schema_is_given = True
        self.pooler = False
        self.engine = AsyncEngine(outer.connection.engine)
        self.sessions = async_sessionmaker(
            AsyncConnection(self.engine, outer.connection),
            class_=WorkerSession,
            expire_on_commit=False,
            autoflush=False,
            join_transaction_mode="create_savepoint",
        )
        self._outer = outer
        self._troubles = troubles

    @session_provider
    async def get_session(self) -> AsyncGenerator[AsyncSession, None]:
        """A session in a savepoint; what the test's session holds is written first.

        Raises:
            TransactionAborted: On leaving, if a swallowed error had aborted it.
        """
        self._outer.refuse_if_lost()
        await self._outer.session.flush()
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
        """Run one statement, as if in a transaction of its own; without a limit.

        Raises:
            asyncpg.PostgresError: As the driver says it.
            TransactionLost: The test's transaction is gone.
        """
        if isinstance(statement, Statement):
            return await self._outer.fetch(*statement.for_driver(self.schema))
        said = direct.written(statement, parameters or {})
        return direct.result_of(await self._outer.fetch(*said))

    @asynccontextmanager
    async def transaction(  # type: ignore[override] # what it yields does the same
        self, *, limit: float = SILENT_SECONDS
    ) -> AsyncGenerator["NestedStatements", None]:
        """Several statements of ours, all or nothing."""
        async with self._outer.together():
            yield NestedStatements(self._outer, self.schema)

    def begin_attempt(self, timeout: float) -> Begun:  # type: ignore[override] # as above
        """What an attempt works on: a savepoint."""
        return NestedAttempt(self._outer, self.schema, self.sessions.kw, self._troubles)

    async def dispose(self) -> None:
        """Nothing: the connection is the test's."""


class NestedStatements:
    """Runs statements in a savepoint that is open."""

    def __init__(self, outer: OuterTransaction, schema: str) -> None:
        self._outer = outer
        self._schema = schema

    async def execute_once(self, statement: Statement, *, limit: float = SILENT_SECONDS) -> Records:
        """Run a statement of ours.

        Raises:
            asyncpg.PostgresError: As the driver says it.
        """
        return await self._outer.say(*statement.for_driver(self._schema))
