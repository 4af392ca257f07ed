"""What `ctx["db"]` is inside a task: every session of the attempt joins one transaction.

The wrapper commits it together with the task's completion after the function has returned.

The first block works on the bare transaction: if it fails, the transaction is rolled back and
nothing is lost, because nothing had joined. From the moment something has joined, a block works
inside a savepoint, so that its failure undoes what followed its last commit and that alone.

It ends with its attempt: see `uow.attempt.open_sessions`.
"""

from collections.abc import AsyncGenerator
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.orm.session import JoinTransactionMode
from sqlalchemy.util import greenlet_spawn

from uow.attempt.joining_session import JoiningSession
from uow.attempt.open_sessions import OpenSessions
from uow.db.attempts import Guard, guard_of
from uow.db.begun_attempt import AttemptDatabase, Begun
from uow.db.connection import ENDED_BY_HAND, GUARD_FAILED
from uow.db.failures import sqlstate
from uow.db.places import place_of_caller
from uow.db.provider import session_provider
from uow.db.session import WorkerSession, ended_by_hand, is_savepoint_gone
from uow.db.statement import Statement
from uow.errors import SessionAlreadyOpen, TransactionEnded, UnitOfWorkLost
from uow.tasks.after_commit import AfterCommit, Block
from uow.tasks.function import DEFAULT_TIMEOUT
from uow.tasks.pusher import PendingPushes, pending_of


class UnitOfWork:
    """One attempt's database transaction. Not shared between attempts.

    Args:
        timeout: Seconds that the attempt may take: no longer does its transaction stand idle.
        after_commit: What waits for the COMMIT.

    Attributes:
        sessions: Those that it has handed out.
    """

    def __init__(
        self,
        db: AttemptDatabase,
        timeout: float = DEFAULT_TIMEOUT,
        after_commit: AfterCommit | None = None,
    ) -> None:
        self._db = db
        self._timeout = timeout
        self._used: Begun | None = None
        self._joined = False
        self.sessions = OpenSessions()
        self.after_commit = AfterCommit() if after_commit is None else after_commit
        self._pushes: list[PendingPushes] = []
        self._undone_by: BaseException | None = None
        self._ended_by_hand: TransactionEnded | None = None

    @session_provider
    async def get_session(self) -> AsyncGenerator[AsyncSession, None]:
        """A session that joins the attempt's transaction.

        Leaving the block, or `commit()`, makes the changes part of it, and fires `after_commit`
        hooks of SQLAlchemy's; an exception undoes what followed the block's last commit.

        Raises:
            AttemptOver: The attempt has ended.
            SessionAlreadyOpen: Another session of this attempt is open.
            UnitOfWorkLost: The connection was lost after something had joined.
            TransactionAborted: On leaving, if a swallowed error had aborted the transaction.
        """
        self.refuse_a_second()
        if self.is_lost:
            await greenlet_spawn(self.replace)  # a new one, now, not in mid-block
        block = Block(self.after_commit)
        session = WorkerSession(
            sync_session_class=JoiningSession,
            unit=self,
            block=block,
            expire_on_commit=False,
            autoflush=False,
        )
        with self.sessions.counted(session), block:
            async with session:
                try:
                    yield session
                    await session.commit()
                except BaseException as error:
                    await self._undo_block(session, error)
                    self.refuse_if_savepoint_gone(error)
                    raise

    @property
    def _begun(self) -> Begun:
        """Made when a session asks for it: most attempts of short tasks need none."""
        if self._used is None:
            self._used = self._db.begin_attempt(self._timeout)
        return self._used

    @property
    def needs_commit(self) -> bool:
        """Whether something waits for the commit, or is to be told there."""
        return self._joined or self._ended_by_hand is not None

    @property
    def is_untouched(self) -> bool:
        """Whether no session has used a connection."""
        return self._used is None or self._used.is_untouched

    @property
    def join_mode(self) -> JoinTransactionMode:
        """How a session begins on the connection, in SQLAlchemy's words."""
        nested = self._joined or self._begun.is_nested
        return "create_savepoint" if nested else "rollback_only"

    @property
    def is_lost(self) -> bool:
        """Whether its connection is of no use any more."""
        return self._begun.is_lost

    def replace(self) -> None:
        """Let the next use take another connection (in SQLAlchemy's greenlet)."""
        self._begun.replace()

    def connection(self) -> Connection:
        """The connection with the transaction begun (in SQLAlchemy's greenlet)."""
        self.sessions.refuse_if_over()
        self.refuse_if_lost()
        self._begun.connect()
        if self.sessions.is_over:  # the attempt has ended meanwhile, and nobody would give it back
            self._begun.give_back()
            self.sessions.refuse_if_over()
        return self._begun.begin()

    def joined(self, session: Session) -> None:
        """A session has committed into the transaction: from now on there is something to lose."""
        if not self._begun.has_begun:
            return
        self._joined = True
        session.join_transaction_mode = "create_savepoint"
        pushes = pending_of(session)
        if pushes is not None and pushes not in self._pushes:
            self._pushes.append(pushes)

    def refuse_if_lost(self) -> None:
        """Raise if what had joined is gone.

        Raises:
            TransactionEnded: A statement of the task function has ended the transaction.
            UnitOfWorkLost: The connection was lost, or a query cancelled, after something joined.
        """
        self.sessions.refuse_if_dropped()
        if self._ended_by_hand is not None:
            raise self._ended_by_hand
        if self._joined and (self._begun.is_lost or not self._begun.has_begun):
            raise UnitOfWorkLost(
                "the connection was lost after an earlier block of this attempt had joined its "
                "transaction, so that block's changes are gone; the attempt will be retried"
            ) from (self._begun.lost_by or self._undone_by)

    async def commit_with(
        self,
        completion: Statement,
        task_id: UUID,
        attempt: int,
    ) -> Guard:
        """Commit everything together with the guarded `completion` of this attempt.

        Returns:
            What its guard was. Unless it was held, everything is rolled back.

        Raises:
            TransactionEnded: A statement of the task function has ended the transaction.
            UnitOfWorkLost: As in `get_session`.
        """
        self.refuse_if_lost()
        if not (self._joined and self._begun.has_said_something):
            if self._used is not None:
                self._used.refuse_if_ended_by_hand()
            await self.rollback()
            return Guard.HELD if await self._db.execute_once(completion) else Guard.SETTLED
        try:
            await greenlet_spawn(self._begun.commit_after, completion)
        except DBAPIError as error:
            if sqlstate(error) == ENDED_BY_HAND:
                raise ended_by_hand() from error
            if sqlstate(error) != GUARD_FAILED:
                raise
            guard = await guard_of(self._db, task_id, attempt)
            if guard is Guard.HELD:  # a division by zero of the user's own
                raise
            return guard
        self._release_pushes()
        return Guard.HELD

    async def commit(self) -> None:
        """Commit without a completion: for a rowless task."""
        self.refuse_if_lost()
        if self._joined:
            self._begun.refuse_if_ended_by_hand()
            await greenlet_spawn(self._begun.commit)
            self._release_pushes()
        await self.rollback()

    async def rollback(self) -> None:
        """Undo everything and give the connection back, whatever still runs on it."""
        if self.sessions.open_at is not None:
            await self.sessions.close(self._begun.take_back)
        if not self.is_untouched:
            await greenlet_spawn(self._begun.give_back)

    async def drop(self) -> None:
        """End its connection: a thread may go on with it."""
        if self._used is not None:
            await self._used.drop()

    def _release_pushes(self) -> None:
        for pushes in self._pushes:
            pushes.release()

    async def _undo_block(self, session: AsyncSession, error: BaseException) -> None:
        """Undo a block that has failed. Closing a joined session would not."""
        if not self.must_undo(error):
            return
        try:
            await session.rollback()
        except SQLAlchemyError:
            self.doom(error)

    def must_undo(self, error: BaseException) -> bool:
        """Whether a block that `error` has left must be rolled back."""
        if self.sessions.is_over:
            return False
        if isinstance(error, TransactionEnded):
            self._ended_by_hand = error
        # Who has forgotten it has no say any more: others may use the connection.
        return not isinstance(error, GeneratorExit)

    def doom(self, error: BaseException) -> None:
        """A block could not be undone: a statement of it still runs, whatever becomes of that."""
        self._undone_by = error
        self._begun.terminate()

    def refuse_if_savepoint_gone(self, error: BaseException) -> None:
        """Raise if that is what has become of a block that `error` has left.

        Raises:
            TransactionEnded: A statement of the task function has ended the transaction.
        """
        if is_savepoint_gone(error):
            self._ended_by_hand = ended_by_hand()
            raise self._ended_by_hand from error

    def refuse_a_second(self) -> None:
        """Raise if a session may not be opened now.

        Raises:
            AttemptOver, SessionAlreadyOpen, UnitOfWorkLost: As `get_session`.
        """
        self.sessions.refuse_if_over()
        self.refuse_if_lost()
        if self.sessions.open_at is not None:
            raise SessionAlreadyOpen(
                f"{place_of_caller()} opens a session while the one opened at "
                f"{self.sessions.open_at} is still open in the same attempt: pass that session "
                "down, or leave its block first"
            )
