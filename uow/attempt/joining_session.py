"""A session on the attempt's connection, which tells its unit of work when it has joined."""

from typing import Any, Protocol

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.session import JoinTransactionMode

from uow.db.session import CheckedSession
from uow.tasks.after_commit import Block


class Joinable(Protocol):
    """The unit of work, as far as a session of it knows it."""

    @property
    def join_mode(self) -> JoinTransactionMode:
        """How a session begins on the connection, in SQLAlchemy's words."""

    def connection(self) -> Connection:
        """The connection with the transaction begun."""

    def joined(self, session: Session) -> None:
        """A session has committed into the transaction."""


class JoiningSession(CheckedSession):
    """Its sync half."""

    def __init__(self, *args: Any, unit: Joinable, block: Block, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unit = unit
        self.block = block
        self.join_transaction_mode = unit.join_mode

    def get_bind(self, *_: Any, **__: Any) -> Connection:
        """The attempt's connection, taken from the pool at the first statement."""
        return self.unit.connection()


@event.listens_for(JoiningSession, "after_commit")
def _join(session: JoiningSession) -> None:
    # Fires for the release of the user's own savepoints, too; those are inside the block still.
    if session.get_nested_transaction() is None:
        session.block.join()
        session.unit.joined(session)


@event.listens_for(JoiningSession, "after_soft_rollback")
def _undo(session: JoiningSession, ended: SessionTransaction) -> None:
    if ended.parent is None:  # and neither a savepoint nor a flush in one
        session.block.undone()
