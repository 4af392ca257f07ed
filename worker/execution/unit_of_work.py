"""What `ctx["db"]` is inside a task.

`UnitOfWork`: every session of the attempt joins one transaction, which the wrapper commits together
with the task's completion after the function has returned. `SeparateBlocks` (``atomic=False``):
every session commits for itself, after checking that the attempt is still the current one.

The first block works on the bare transaction: if it fails, the transaction is rolled back and
nothing is lost, because nothing had joined. From the moment something has joined, a block works
inside a savepoint, so that its failure undoes what followed its last commit and that alone.
"""

import contextlib
import sys
from collections.abc import AsyncGenerator, Mapping
from types import FrameType
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.orm.session import JoinTransactionMode
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.util import greenlet_spawn

from worker.db import direct
from worker.db.connection import GUARD_FAILED
from worker.db.database import Database
from worker.db.failures import sqlstate
from worker.db.provider import session_provider
from worker.db.session import CheckedSession, WorkerSession
from worker.errors import AttemptSuperseded, SessionAlreadyOpen, UnitOfWorkLost
from worker.execution.pusher import PendingPushes, pending_of


class JoiningSession(CheckedSession):
    """The sync half of a session that works on the attempt's connection."""

    def __init__(self, *args: Any, unit: "UnitOfWork", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unit = unit
        self.join_transaction_mode = unit.join_mode

    def get_bind(self, *_: Any, **__: Any) -> Connection:
        """The attempt's connection, taken from the pool at the first statement."""
        return self.unit.connection()


class UnitOfWork:
    """One attempt's database transaction. Not shared between attempts."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: Connection | None = None
        self._joined = False
        self._open_at: str | None = None
        self._pushes: list[PendingPushes] = []
        self._lost_by: BaseException | None = None

    @session_provider
    async def get_session(self) -> AsyncGenerator[AsyncSession, None]:
        """A session that joins the attempt's transaction.

        Leaving the block, or `commit()`, makes the changes part of it; an exception undoes what
        followed the block's last commit.

        Raises:
            SessionAlreadyOpen: Another session of this attempt is open.
            UnitOfWorkLost: The connection was lost after something had joined.
            TransactionAborted: On leaving, if a swallowed error had aborted the transaction.
        """
        self._enter(_place_of_caller())
        if self._connection is not None and _is_lost(self._connection):
            await greenlet_spawn(self._connection.invalidate)  # a new one, now, not in mid-block
        session = WorkerSession(
            sync_session_class=JoiningSession,
            unit=self,
            expire_on_commit=False,
            autoflush=False,
        )
        try:
            async with session:
                try:
                    yield session
                    await session.commit()
                except BaseException as error:
                    # Closing a joined session does not roll back; a failing rollback must not hide
                    # the error, and what it means for the connection is found out at its next use.
                    with contextlib.suppress(SQLAlchemyError):
                        await session.rollback()
                    if self._connection is not None and _is_lost(self._connection):
                        self._lost_by = error
                    raise
        finally:
            self._open_at = None

    @property
    def has_joined(self) -> bool:
        """Whether something waits for the commit."""
        return self._joined

    @property
    def is_untouched(self) -> bool:
        """Whether no session has used a connection."""
        return self._connection is None

    @property
    def join_mode(self) -> JoinTransactionMode:
        """How a session begins on the connection, in SQLAlchemy's words."""
        return "create_savepoint" if self._joined else "rollback_only"

    def connection(self) -> Connection:
        """The connection with the transaction begun (in SQLAlchemy's greenlet)."""
        self.refuse_if_lost()
        if self._connection is not None and self._connection.invalidated:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            self._connection = self._db.engine.sync_engine.connect()
        if not self._connection.in_transaction():
            self._connection.begin()
        return self._connection

    def joined(self, session: Session) -> None:
        """A session has committed into the transaction: from now on there is something to lose."""
        if self._connection is None or not self._connection.in_transaction():
            return
        self._joined = True
        session.join_transaction_mode = "create_savepoint"
        pushes = pending_of(session)
        if pushes is not None and pushes not in self._pushes:
            self._pushes.append(pushes)

    def refuse_if_lost(self) -> None:
        """Raise if what had joined is gone.

        Raises:
            UnitOfWorkLost: The connection was lost, or a query cancelled, after something joined.
        """
        connection = self._connection
        if self._joined and (
            connection is None or _is_lost(connection) or not connection.in_transaction()
        ):
            raise UnitOfWorkLost(
                "the connection was lost after an earlier block of this attempt had joined its "
                "transaction, so that block's changes are gone; the attempt will be retried"
            ) from self._lost_by

    async def commit_with(self, completion: TextClause, parameters: Mapping[str, object]) -> bool:
        """Commit everything together with the guarded `completion`.

        Returns:
            False if the guard did not hold; then everything is rolled back.

        Raises:
            UnitOfWorkLost: As in `get_session`.
        """
        self.refuse_if_lost()
        if not self._has_begun:
            await self.rollback()
            return (await self._db.execute_once(completion, parameters)).first() is not None
        try:
            await greenlet_spawn(self._commit_with, completion, parameters)
        except DBAPIError as error:
            if sqlstate(error) == GUARD_FAILED and await self._is_settled(parameters):
                return False
            raise
        for pushes in self._pushes:
            pushes.release()
        return True

    async def commit(self) -> None:
        """Commit without a completion: for a task that has no row."""
        self.refuse_if_lost()
        if self._connection is not None and self._joined:
            await greenlet_spawn(self._connection.commit)
            for pushes in self._pushes:
                pushes.release()
        await self.rollback()

    async def rollback(self) -> None:
        """Undo everything and give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await greenlet_spawn(connection.close)

    @property
    def _has_begun(self) -> bool:
        """Whether there is a transaction to commit: a session may join and say nothing."""
        if not self._joined or self._connection is None:
            return False
        return bool(direct.driver_of(self._connection.connection).is_in_transaction())

    async def _is_settled(self, parameters: Mapping[str, object]) -> bool:
        found = await self._db.execute_once(self._db.queries.look_up, {"id": parameters["id"]})
        row = found.first()
        return row is None or bool(row.settled)

    def _commit_with(self, completion: TextClause, parameters: Mapping[str, object]) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None  # noqa: S101 - something has joined on it
        with connection:
            driver = direct.driver_of(connection.connection)
            direct.commit_only_after(driver, completion, parameters, prepare=not self._db.pooler)
            connection.commit()

    def _enter(self, place: str) -> None:
        self.refuse_if_lost()
        if self._open_at is not None:
            raise SessionAlreadyOpen(
                f"{place} opens a session while the one opened at {self._open_at} is still open in "
                "the same attempt: pass that session down, or leave its block first"
            )
        self._open_at = place


class SeparateBlocks:
    """``atomic=False``: a transaction per block, refused once the attempt is not current.

    Args:
        task_id: The row to check; None: a task without a row, which nobody can take over.
        attempt: The attempt that must be current.
    """

    def __init__(self, db: Database, task_id: UUID | None, attempt: int) -> None:
        self._db = db
        self._row = None if task_id is None else {"id": task_id, "attempt": attempt}

    @session_provider
    async def get_session(self) -> AsyncGenerator[AsyncSession, None]:
        """A session with a transaction of its own.

        Raises:
            AttemptSuperseded: On commit, if the task was settled or taken over meanwhile.
            TransactionAborted: On leaving, if a swallowed error had aborted the transaction.
        """
        async with self._db.sessions(guard=self._guard) as session:
            yield session
            await session.commit()

    is_untouched = True

    @property
    def has_joined(self) -> bool:
        """Nothing ever waits for the commit: each block has had its own."""
        return False

    async def commit_with(self, completion: TextClause, parameters: Mapping[str, object]) -> bool:
        """Write the guarded `completion`; False if the guard did not hold."""
        return (await self._db.execute_once(completion, parameters)).first() is not None

    async def commit(self) -> None:
        """Nothing is left to commit."""

    async def rollback(self) -> None:
        """Nothing is left to roll back: a block has ended before the function has."""

    def _guard(self, connection: Connection) -> None:
        if self._row is None:
            return
        if connection.execute(self._db.queries.is_current, self._row).first() is None:
            raise AttemptSuperseded(
                f"task {self._row['id']} was settled or taken over meanwhile; this block was "
                "rolled back"
            )


Work = UnitOfWork | SeparateBlocks


@event.listens_for(JoiningSession, "after_commit")
def _join(session: JoiningSession) -> None:
    # Fires for the release of the user's own savepoints, too; those are inside the block still.
    if session.get_nested_transaction() is None:
        session.unit.joined(session)


def _is_lost(connection: Connection) -> bool:
    """Whether it is of no use any more; SQLAlchemy does not know it after every kind of error."""
    return connection.invalidated or direct.driver_of(connection.connection).is_closed()


def _place_of_caller() -> str:
    """Where user code opened the session: the first frame outside this package and contextlib."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way is slower
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("worker.execution", "worker.db", "contextlib", "sqlalchemy")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown place"
