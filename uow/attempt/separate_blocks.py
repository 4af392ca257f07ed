"""What `ctx["db"]` is inside a task that is `atomic=False`: a transaction per block."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import SessionTransaction

from uow.attempt.open_sessions import OpenSessions
from uow.db.attempts import Guard, current, guard_of
from uow.db.begun_attempt import AttemptDatabase, drop
from uow.db.connection import GUARD_FAILED
from uow.db.failures import sqlstate
from uow.db.provider import session_provider
from uow.db.session import CheckedSession, WorkerSession
from uow.db.statement import Statement
from uow.errors import AttemptSuperseded
from uow.tasks.after_commit import AfterCommit, Block


class SyncBlockSession(CheckedSession):
    """Its sync half: what it does is done as an attempt's, though the transaction is its own."""

    def __init__(self, *args: Any, blocks: "SeparateBlocks", block: Block, **kwargs: Any) -> None:
        super().__init__(*args, guard=blocks.guard, **kwargs)
        self.blocks = blocks
        self.block = block


class BlockSession(WorkerSession):
    """A session whose transaction is its own and an attempt's all the same."""

    sync_session_class: type[CheckedSession] = SyncBlockSession
    sync_session: SyncBlockSession

    async def commit(self) -> None:
        """Commit.

        Raises:
            AttemptSuperseded: The task was settled or taken over meanwhile.
            TransactionAborted: An earlier error had aborted the transaction.
        """
        try:
            await super().commit()
        except DBAPIError as error:
            await self.sync_session.blocks.refuse_if_superseded(error)
            raise
        await self.sync_session.block.call()


class SeparateBlocks:
    """``atomic=False``: a transaction per block, refused once the attempt is not current.

    Args:
        task_id: The row to check; None: a rowless task, which nobody can take over.
        attempt: The attempt that must be current.
        timeout: Seconds that it may take: no longer does a transaction of it stand idle.
        after_commit: What waits for its end, and that of its blocks.

    Attributes:
        sessions: Those that it has handed out.
    """

    def __init__(
        self,
        db: AttemptDatabase,
        task_id: UUID | None,
        attempt: int,
        timeout: float,
        after_commit: AfterCommit,
    ) -> None:
        self._db = db
        self._begun = db.begin_attempt(timeout)
        self._task_id, self._attempt = task_id, attempt
        self.sessions = OpenSessions()
        self.after_commit = after_commit
        self._unanswered: set[Connection] = set()
        self._lent: set[Connection] = set()

    @session_provider
    async def get_session(self) -> AsyncGenerator[AsyncSession, None]:
        """A session with a transaction of its own.

        Raises:
            AttemptOver: The attempt has ended.
            AttemptSuperseded: On commit, if the task was settled or taken over meanwhile.
            TransactionAborted: On leaving, if a swallowed error had aborted the transaction.
        """
        self.sessions.refuse_if_over()
        block = Block(self.after_commit)
        session = BlockSession(**self._begun.session_options, blocks=self, block=block)
        with self.sessions.counted(session), block:
            async with session:
                yield session
                await session.commit()

    @property
    def is_untouched(self) -> bool:
        """Whether no session holds a connection."""
        return self.sessions.open_at is None and not self._lent

    @property
    def needs_commit(self) -> bool:
        """Each block has had its own commit; the completion must hear of one that was refused."""
        return bool(self._unanswered)

    async def commit_with(
        self,
        completion: Statement,
        task_id: UUID,
        attempt: int,
    ) -> Guard:
        """Write the guarded `completion`; tells what its guard was, now or for a block.

        An attempt whose block was refused has not done what its function says, whether the function
        has swallowed that or not.
        """
        if self._unanswered and (guard := await self._read_guard()) is not Guard.HELD:
            return guard
        return Guard.HELD if await self._db.execute_once(completion) else Guard.SETTLED

    async def commit(self) -> None:
        """Nothing is left to commit."""

    async def rollback(self) -> None:
        """Take back the connection of a block that goes on after the function."""
        await self.sessions.close(self._begun.take_back)
        await self.drop()

    async def drop(self) -> None:
        """End the connections that were lent: a thread may go on with them."""
        lent, self._lent = self._lent, set()
        for connection in lent:
            await drop(connection)

    def lend(self) -> Connection:
        """A connection for a block in a thread, begun (in SQLAlchemy's greenlet)."""
        self.sessions.refuse_if_over()
        connection = self._begun.engine.connect()
        connection.begin()
        self._lent.add(connection)
        return connection

    def take_back(self, connection: Connection) -> None:
        """The block is done with what it was lent (in SQLAlchemy's greenlet)."""
        connection.close()
        self._lent.discard(connection)

    @property
    def engine(self) -> Engine:
        """Where its connections come from."""
        return self._begun.engine

    @property
    def session_options(self) -> Mapping[str, Any]:
        """Those of its sessions."""
        return self._begun.session_options

    def guard(self, connection: Connection) -> None:
        """Let the COMMIT that comes on `connection` be one only if the attempt is current."""
        if self._task_id is None:
            return
        if self._begun.commit_only_after(connection, current(self._task_id, self._attempt)):
            self._unanswered.add(connection)

    def was_committed(self, connection: Connection) -> None:
        """The COMMIT on `connection` has come through."""
        self._unanswered.discard(connection)

    async def refuse_if_superseded(self, error: DBAPIError) -> None:
        """Raise if that is what `error`, of a commit, means.

        Raises:
            AttemptSuperseded: The task was settled or taken over.
        """
        if sqlstate(error) != GUARD_FAILED:
            return
        if (guard := await self._read_guard()) is not Guard.HELD:
            was = "taken over" if guard is Guard.OVERTAKEN else "settled"
            raise AttemptSuperseded(
                f"task {self._task_id} was {was} meanwhile; this block was rolled back"
            ) from error

    def fence(self, connection: Connection) -> None:
        """Let the transaction that begins on `connection` be the attempt's."""
        self._begun.fence(connection)

    async def _read_guard(self) -> Guard:
        if self._task_id is None:
            return Guard.HELD
        return await guard_of(self._db, self._task_id, self._attempt)


@event.listens_for(SyncBlockSession, "after_begin")
def _begin(session: SyncBlockSession, begun: SessionTransaction, connection: Connection) -> None:
    if not begun.nested:  # before the BEGIN, which the driver says with the first statement
        session.blocks.fence(connection)


@event.listens_for(SyncBlockSession, "after_commit")
def _committed(session: SyncBlockSession) -> None:
    if session.get_nested_transaction() is None:
        session.block.committed()
        if session.current is not None:
            session.blocks.was_committed(session.current)


@event.listens_for(SyncBlockSession, "after_soft_rollback")
def _undo(session: SyncBlockSession, ended: SessionTransaction) -> None:
    if ended.parent is None:  # and neither a savepoint nor a flush in one
        session.block.undone()
