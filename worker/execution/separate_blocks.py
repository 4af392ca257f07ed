"""What `ctx["db"]` is inside a task that is `atomic=False`: a transaction per block."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.sql.elements import TextClause

from worker.db.database import Database
from worker.db.direct import driver_of
from worker.db.provider import session_provider
from worker.db.session import CheckedSession
from worker.errors import AttemptSuperseded
from worker.execution.open_sessions import OpenSessions


class BlockSession(CheckedSession):
    """The sync half of a session whose transaction is its own and an attempt's all the same."""

    def __init__(self, *args: Any, fence: Callable[[Connection], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fence = fence


class SeparateBlocks:
    """``atomic=False``: a transaction per block, refused once the attempt is not current.

    Args:
        task_id: The row to check; None: a task without a row, which nobody can take over.
        attempt: The attempt that must be current.
        timeout: Seconds that it may take: no longer does a transaction of it stand idle.

    Attributes:
        sessions: Those that it has handed out.
    """

    def __init__(self, db: Database, task_id: UUID | None, attempt: int, timeout: float) -> None:
        self._db = db
        self._timeout = timeout
        self._row = None if task_id is None else {"id": task_id, "attempt": attempt}
        self.sessions = OpenSessions()
        self._was_refused = False

    @session_provider
    async def get_session(self) -> AsyncGenerator[AsyncSession, None]:
        """A session with a transaction of its own.

        Raises:
            AttemptOver: The attempt has ended.
            AttemptSuperseded: On commit, if the task was settled or taken over meanwhile.
            TransactionAborted: On leaving, if a swallowed error had aborted the transaction.
        """
        self.sessions.refuse_if_over()
        session = self._db.sessions(
            sync_session_class=BlockSession, guard=self._guard, fence=self._fence
        )
        with self.sessions.counted(session):
            async with session:
                yield session
                await session.commit()

    @property
    def is_untouched(self) -> bool:
        """Whether no session holds a connection."""
        return self.sessions.open_at is None

    @property
    def needs_commit(self) -> bool:
        """Each block has had its own commit; the completion must hear of one that was refused."""
        return self._was_refused

    async def commit_with(self, completion: TextClause, parameters: Mapping[str, object]) -> bool:
        """Write the guarded `completion`; False if the guard did not hold, now or for a block.

        An attempt whose block was refused has not done what its function says, whether the function
        has swallowed that or not.
        """
        if self._was_refused:
            return False
        return (await self._db.execute_once(completion, parameters)).first() is not None

    async def commit(self) -> None:
        """Nothing is left to commit."""

    async def rollback(self) -> None:
        """Take back the connection of a block that goes on after the function."""
        await self.sessions.close()

    def _fence(self, connection: Connection) -> None:
        self._db.fence(driver_of(connection.connection), self._timeout)

    def _guard(self, connection: Connection) -> None:
        if self._row is None:
            return
        if connection.execute(self._db.queries.is_current, self._row).first() is None:
            self._was_refused = True
            raise AttemptSuperseded(
                f"task {self._row['id']} was settled or taken over meanwhile; this block was "
                "rolled back"
            )


@event.listens_for(BlockSession, "after_begin")
def _begin(session: BlockSession, begun: SessionTransaction, connection: Connection) -> None:
    if not begun.nested:  # before the BEGIN, which the driver says with the first statement
        session.fence(connection)
