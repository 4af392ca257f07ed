"""A session whose commit never lies.

Postgres answers COMMIT on an aborted transaction with a silent rollback, and SQLAlchemy passes
that on as success. A transaction becomes aborted when a statement fails and the code swallows the
error. So the first error of a transaction is noted on its connection, and a commit that finds a
note asks the server whether the transaction still works. Errors inside the user's own
`begin_nested()` do not count: rolling back to the savepoint removes the note.

And a session whose end is one: SQLAlchemy lets a closed session begin again, in a transaction that
nobody commits. Ours refuses every use after its block, with both places.
"""

from collections.abc import Callable
from typing import Any, Self

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import ConnectionPoolEntry

from uow.db.connection import Connection as Driver
from uow.db.direct import SPOILT, driver_of
from uow.db.failures import sqlstate
from uow.db.places import place_of_caller
from uow.errors import SessionEnded, TransactionAborted, TransactionEnded
from uow.telemetry.description import message_of, on_one_line, type_of

FIRST_ERROR = "worker.first_error"
_IN_FAILED_TRANSACTION = "25P02"
_NO_SUCH_SAVEPOINT = "3B001"
_PROBE = text("SELECT 1")

_LOST_BY = "worker.lost_by"


def note_first_errors(engine: Engine) -> None:
    """Make every connection of `engine` remember the first error of its transaction.

    Not by events of the engine: one listener there and SQLAlchemy looks for listeners four times
    per statement, which is a tenth of what a short task costs.
    """
    event.listen(engine, "handle_error", _note)
    event.listen(engine.pool, "checkout", _forget_at_checkout)


def what_ended(connection: Connection) -> BaseException | None:
    """The error with which `connection` was lost, or in which a statement of it was cancelled."""
    error: BaseException | None = vars(connection).get(_LOST_BY)
    return error


def note_loss(connection: Connection, error: BaseException) -> None:
    """Remember what `connection` was lost with; the first error stays."""
    vars(connection).setdefault(_LOST_BY, error)


def refuse_if_aborted(connection: Connection) -> None:
    """Raise if a commit on `connection` would be a silent rollback.

    Asks the server only when an error was noted: not every error aborts the transaction.

    Raises:
        TransactionAborted: It would; the message names the first error.
    """
    if connection.invalidated:
        return
    first = connection.info.get(FIRST_ERROR)
    if first is None:
        return
    try:
        connection.execute(_PROBE)
    except DBAPIError:
        raise aborted_by(first) from first
    _forget(connection)


def refuse_if_ended_by_hand(driver: Driver) -> None:
    """Raise if a statement has ended the transaction that `driver` has begun.

    Raises:
        TransactionEnded: One has.
    """
    if not driver.is_closed() and driver.was_ended_by_hand():
        raise ended_by_hand()


def ended_by_hand() -> TransactionEnded:
    """The `TransactionEnded` that says what to write instead."""
    return TransactionEnded(
        "the transaction was ended by a statement (COMMIT or ROLLBACK as text): what came before "
        "it is committed or undone already, and what came after it is in another one or none. Use "
        "session.commit(), session.rollback() or session.begin_nested()"
    )


def is_savepoint_gone(error: BaseException) -> bool:
    """Whether a block's own savepoint has ended with a transaction that a statement has ended."""
    return sqlstate(error) == _NO_SUCH_SAVEPOINT and "sa_savepoint" in str(error)


def aborted_by(error: BaseException) -> TransactionAborted:
    """The `TransactionAborted` that names `error`."""
    said, *_ = message_of(error).split("\n")  # what follows shows the statement and its values
    first = on_one_line(f"{type_of(error)}: {said}")
    return TransactionAborted(
        "nothing was committed: the transaction was aborted by an earlier error that the code "
        f"swallowed ({first}). Let that error leave the block, or do the part that may fail inside "
        "session.begin_nested()"
    )


class CheckedSession(Session):
    """The sync half: looks at its connection before each commit, and knows when it has ended.

    Args:
        guard: Called with the connection before the outermost commit; raises to refuse it.

    Attributes:
        opened_at: Where somebody's code has opened it.
    """

    def __init__(
        self, *args: Any, guard: Callable[[Connection], None] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, close_resets_only=False, **kwargs)
        self.guard = guard
        self.current: Connection | None = None
        self.opened_at = "unknown place"
        self._ended: tuple[type[BaseException], str] | None = None

    def commit(self) -> None:
        """Commit.

        Raises:
            TransactionAborted: An earlier error had aborted the transaction.
        """
        try:
            super().commit()
        except PendingRollbackError as error:
            raise aborted_by(self._first_error() or error) from error
        except DBAPIError as error:
            if sqlstate(error) == _IN_FAILED_TRANSACTION:
                raise aborted_by(error) from error
            raise

    def end(self, kind: type[BaseException], why: str) -> None:
        """Refuse every use from now on; the first reason stays."""
        self._ended = self._ended or (kind, why)

    def refuse_if_ended(self) -> None:
        """Raise if this session has ended.

        Raises:
            SessionError, AttemptOverInThread: Of the kind that `end` was told.
        """
        if self._ended is not None:
            kind, why = self._ended
            raise kind(
                f"{place_of_caller()} uses the session that was opened at {self.opened_at}, {why}"
            )

    def _first_error(self) -> BaseException | None:
        current = self.current
        if current is None or current.closed or current.invalidated:
            return None
        first: BaseException | None = current.info.get(FIRST_ERROR)
        return first

    def _autobegin_t(self, begin: bool = False) -> SessionTransaction:
        # What every use goes through. Were it ever called otherwise, SQLAlchemy itself would refuse
        # (close_resets_only=False), in words that name no place.
        self.refuse_if_ended()
        return super()._autobegin_t(begin)


AFTER_ITS_BLOCK = (
    "whose block has ended: nobody would commit what is written now. Use it inside its block, or "
    "open another one: {} as session"
)


class WorkerSession(AsyncSession):
    """The async half, which is what `get_session()` hands out."""

    sync_session_class: type[CheckedSession] = CheckedSession
    sync_session: CheckedSession

    async def __aenter__(self) -> Self:
        self.sync_session.opened_at = place_of_caller()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close for good; without an asyncio task and a greenlet if nothing is to be done."""
        try:
            if self.in_transaction():
                await super().__aexit__(*error)
            else:
                self.sync_session.close()
        finally:
            self.sync_session.end(
                SessionEnded, AFTER_ITS_BLOCK.format("async with db.get_session()")
            )


def _note(context: ExceptionContext) -> None:
    if context.connection is None:
        return
    error = context.sqlalchemy_exception or context.original_exception
    if isinstance(context.original_exception.__cause__, SPOILT) and not context.connection.closed:
        driver_of(context.connection.connection).is_spoilt = True
    if context.is_disconnect:  # or a cancellation, after which SQLAlchemy lets the connection go
        note_loss(context.connection, error)  # in it, so that both can be forgotten
    else:
        context.connection.info.setdefault(FIRST_ERROR, error)


def _forget(connection: Connection) -> None:
    connection.info.pop(FIRST_ERROR, None)


def _forget_at_checkout(_: object, record: ConnectionPoolEntry, *__: object) -> None:
    record.info.pop(FIRST_ERROR, None)


@event.listens_for(CheckedSession, "after_soft_rollback")
def _forget_in_savepoint(session: CheckedSession, ended: SessionTransaction) -> None:
    current = session.current
    if ended.nested and current is not None and not current.closed and not current.invalidated:
        _forget(current)


@event.listens_for(CheckedSession, "after_begin")
def _remember_connection(
    session: CheckedSession, _: SessionTransaction, connection: Connection
) -> None:
    session.current = connection
    session.refuse_if_ended()  # it may have ended while this connection was made


@event.listens_for(CheckedSession, "before_commit")
def _check_before_commit(session: CheckedSession) -> None:
    session.refuse_if_ended()
    if session.guard is not None:
        session.flush()  # which may begin the transaction that is to be guarded
    connection = session.current
    if connection is None or connection.closed or not connection.in_transaction():
        return
    if not connection.invalidated:
        driver: Any = connection.connection.driver_connection
        # Of somebody's own engine nothing is known; and isinstance says yes to any of asyncpg's.
        if issubclass(type(driver), Driver):
            refuse_if_ended_by_hand(driver)
    refuse_if_aborted(connection)
    if session.guard is not None and session.get_nested_transaction() is None:
        session.guard(connection)
