"""A session on the attempt's connection, which tells its unit of work when it has joined."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import SessionTransaction

from uow.db.session import CheckedSession
from uow.tasks.after_commit import Block

if TYPE_CHECKING:
    from uow.attempt.unit_of_work import UnitOfWork


class JoiningSession(CheckedSession):
    """Its sync half."""

    def __init__(self, *args: Any, unit: "UnitOfWork", block: Block, **kwargs: Any) -> None:
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
