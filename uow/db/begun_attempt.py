"""What an attempt has of the database: one transaction, or one for each of its sessions.

Nothing is taken from the pool before it is needed. An attempt knows `execute_once`, `transaction`
and `begin_attempt` of a database, and no more (`AttemptDatabase`): a test kit stands in that place.
"""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import greenlet_spawn

from uow.db import direct
from uow.db.connection import Connection as Driver
from uow.db.failures import PASSING
from uow.db.limit import Limited
from uow.db.session import WorkerSession, refuse_if_ended_by_hand, what_ended
from uow.db.statement import SILENT_SECONDS, Statement, Statements
from uow.db.transaction import Transaction

COMMIT_SECONDS = 60.0
"""So long a COMMIT may take: the user's deferred triggers and constraints run in it, which may have
much to look at. Nobody can interrupt it, so one without an answer would hold its slot for ever."""

ROLLBACK_SECONDS = 5.0
"""So long a ROLLBACK may take, which has nothing to look at; then its connection is ended."""


CANCEL_SECONDS = 1.0
"""So long a statement may take to be cancelled whose thread has not returned; then its connection
is ended, and the server finds out by itself."""


class BegunAttempt:
    """The connections of one attempt. Its blocking methods are for SQLAlchemy's greenlet.

    Args:
        schema: Of our tables.
        session_options: Of a session that has a connection and a transaction of its own.
        fence: Lets the transaction that begins next on a connection be this attempt's: nothing that
            the attempt leaves behind holds a lock for long.
    """

    is_nested: ClassVar[bool] = False

    def __init__(
        self,
        engine: Engine,
        schema: str,
        session_options: Mapping[str, Any],
        fence: Callable[[Driver], None],
    ) -> None:
        self.session_options = session_options
        self._engine = engine
        self._schema = schema
        self._fence = fence
        self._connection: Connection | None = None
        self._driver: Driver  # of the connection, once there has been one

    @property
    def engine(self) -> Engine:
        """Where its connections come from."""
        return self._engine

    # -- one transaction for all -------------------------------------------------------------------

    @property
    def is_untouched(self) -> bool:
        """Whether it holds no connection."""
        return self._connection is None

    @property
    def is_lost(self) -> bool:
        """Whether its connection is of no use any more; SQLAlchemy does not always know it."""
        connection = self._connection
        return connection is not None and (
            connection.invalidated or self._driver.is_closed() or self._driver.is_spoilt
        )

    @property
    def lost_by(self) -> BaseException | None:
        """The error with which its connection was lost, or in which a statement was cancelled."""
        return None if self._connection is None else what_ended(self._connection)

    @property
    def has_begun(self) -> bool:
        """Whether SQLAlchemy has begun the transaction."""
        return self._connection is not None and self._connection.in_transaction()

    @property
    def has_said_something(self) -> bool:
        """Whether Postgres knows of the transaction: a session may join and say nothing."""
        return self._connection is not None and bool(self._driver.is_in_transaction())

    def connect(self) -> None:
        """Take a connection, unless it holds one that may still be used."""
        if self._connection is not None and self._connection.invalidated:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            connection = self._engine.connect()
            self._driver = direct.driver_of(connection.connection)
            self._connection = connection

    def begin(self) -> Connection:
        """The connection, with the transaction begun."""
        assert self._connection is not None  # noqa: S101 - who begins has connected
        if not self._connection.in_transaction():
            self._fence(self._driver)
            self._connection.begin()
        return self._connection

    def replace(self) -> None:
        """Let the next use take another connection: this one is lost."""
        if self._connection is not None:
            self._connection.invalidate()

    def terminate(self) -> None:
        """End the connection at once, whatever runs on it."""
        if self._connection is not None:
            self._driver.terminate()

    async def drop(self) -> None:
        """End the connection for good: a thread may go on with it. See `drop`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await drop(connection)

    def refuse_if_ended_by_hand(self) -> None:
        """Raise if a statement of user code has ended the transaction.

        Raises:
            TransactionEnded: One has.
        """
        if self._connection is not None:
            refuse_if_ended_by_hand(self._driver)

    def commit_after(self, completion: Statement) -> None:
        """COMMIT in one message with `completion`, and only if that returns a row; then give back.

        Raises:
            DBAPIError: With the SQLSTATE `GUARD_FAILED` if it returns none.
        """
        connection, self._connection = self._connection, None
        assert connection is not None  # noqa: S101 - something has joined on it
        with Limited(self._driver, COMMIT_SECONDS, "a COMMIT"), connection:
            self._driver.commit_only_after(*completion.for_driver(self._schema))
            connection.commit()

    def commit(self) -> None:
        """COMMIT without a completion."""
        assert self._connection is not None  # noqa: S101 - something has joined on it
        with Limited(self._driver, COMMIT_SECONDS, "a COMMIT"):
            self._connection.commit()

    def give_back(self) -> None:
        """Undo what is not committed, and give the connection back to the pool."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.invalidated or self._driver.is_closed():
            connection.invalidate()
            connection.close()
            return
        try:
            with Limited(self._driver, ROLLBACK_SECONDS, "a ROLLBACK"):
                connection.close()
        except PASSING:
            if not self._driver.is_closed():  # the end of a connection rolls back, too
                raise

    async def take_back(self, session: WorkerSession) -> None:
        """End the connection of a session that is still open, whatever runs on it."""
        connection = session.sync_session.current
        if connection is not None and not (connection.closed or connection.invalidated):
            direct.driver_of(connection.connection).terminate()
        with contextlib.suppress(SQLAlchemyError):  # who uses it closes it, on meeting its end
            await session.invalidate()

    # -- a transaction for each session ------------------------------------------------------------

    def fence(self, connection: Connection) -> None:
        """Let the transaction that begins on a session's `connection` be the attempt's."""
        self._fence(direct.driver_of(connection.connection))

    def commit_only_after(self, connection: Connection, statement: Statement) -> bool:
        """Let the COMMIT that comes on a session's `connection` be one only if `statement` says so.

        Returns:
            False: Nothing was said there, so there is nothing to commit.
        """
        driver = direct.driver_of(connection.connection)
        if not driver.is_in_transaction():
            return False
        # Without a mark: what a statement has committed is not to be taken back here either.
        driver.commit_only_after(*statement.for_driver(self._schema), marked=False)
        return True


async def drop(connection: Connection) -> None:
    """End `connection` for good, and not give it back: somebody may go on with it.

    A statement that runs is cancelled first, so that the server lets go of its locks.
    """
    if not (connection.closed or connection.invalidated):
        driver: Any = connection.connection.driver_connection
        with contextlib.suppress(Exception):
            await driver.close(timeout=CANCEL_SECONDS)
        driver.terminate()
    await greenlet_spawn(_let_go, connection)


def _let_go(connection: Connection) -> None:
    if not connection.closed:
        connection.invalidate()
        connection.close()


class Begun(Protocol):
    """What an attempt works on, as its unit of work knows it; `BegunAttempt` says more of each."""

    @property
    def is_nested(self) -> bool:
        """Whether its transaction is inside another one, which nobody may end."""

    @property
    def session_options(self) -> Mapping[str, Any]:
        """Of a session that has a transaction of its own."""

    @property
    def is_untouched(self) -> bool:
        """Whether it holds no connection."""

    @property
    def is_lost(self) -> bool:
        """Whether its connection is of no use any more."""

    @property
    def lost_by(self) -> BaseException | None:
        """The error with which it was lost."""

    @property
    def has_begun(self) -> bool:
        """Whether its transaction has begun."""

    @property
    def has_said_something(self) -> bool:
        """Whether Postgres knows of the transaction."""

    def connect(self) -> None:
        """Take a connection, unless it holds one."""

    def begin(self) -> Connection:
        """The connection, with the transaction begun."""

    def replace(self) -> None:
        """Let the next use take another connection."""

    def terminate(self) -> None:
        """End the connection at once."""

    def refuse_if_ended_by_hand(self) -> None:
        """Raise if a statement of user code has ended the transaction."""

    def commit_after(self, completion: Statement) -> None:
        """COMMIT with `completion`, and only if that returns a row."""

    def commit(self) -> None:
        """COMMIT without a completion."""

    def give_back(self) -> None:
        """Undo what is not committed."""

    async def take_back(self, session: WorkerSession) -> None:
        """Take the connection of a session that is still open."""

    async def drop(self) -> None:
        """End the connection for good: a thread may go on with it."""

    @property
    def engine(self) -> Engine:
        """Where connections of blocks in threads come from."""

    def fence(self, connection: Connection) -> None:
        """Let the transaction that begins on a session's `connection` be the attempt's."""

    def commit_only_after(self, connection: Connection, statement: Statement) -> bool:
        """Let the COMMIT that comes on `connection` be one only if `statement` returns a row."""


class AttemptDatabase(Statements, Protocol):
    """All that an attempt knows of a database; `uow.db.database.Database` is one."""

    def transaction(
        self, *, limit: float = SILENT_SECONDS
    ) -> AbstractAsyncContextManager[Transaction]:
        """A transaction for several statements of ours."""

    def begin_attempt(self, timeout: float) -> Begun:
        """What an attempt works on that may take `timeout` seconds."""
