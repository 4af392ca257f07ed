"""What `ctx["db"]` is in the thread of a ``def``: the attempt's unit of work, with plain sessions.

A session there has a `Connection` of its own, over one that is lent by the event loop
(`uow.db.lent`). What is decided, is decided by the loop's unit of work, which commits in the end.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, _GeneratorContextManager, contextmanager
from typing import Any, NoReturn, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.orm.session import JoinTransactionMode

from uow.attempt.joining_session import JoiningSession
from uow.attempt.separate_blocks import SeparateBlocks, SyncBlockSession
from uow.attempt.unit_of_work import UnitOfWork
from uow.attempt.work import Work
from uow.db.lent import Lent, connection_on, in_greenlet
from uow.db.places import place_of_caller
from uow.db.session import AFTER_ITS_BLOCK, CheckedSession
from uow.errors import SessionEnded
from uow.process.bridge import Bridge
from uow.tasks.after_commit import Block


class ThreadSessions(Protocol):
    """`ctx["db"]` in a thread."""

    def get_session(self) -> AbstractContextManager[Session]:
        """``with ctx["db"].get_session() as session``."""


def sessions_of(work: Work, bridge: Bridge) -> ThreadSessions:
    """Those of `work`, for the thread that `bridge` leads from."""
    return ThreadUnit(work, bridge) if isinstance(work, UnitOfWork) else ThreadBlocks(work, bridge)


class ThreadUnit:
    """The sessions of a unit of work: each joins the attempt's one transaction."""

    def __init__(self, unit: UnitOfWork, bridge: Bridge) -> None:
        self._unit = unit
        self._bridge = bridge
        self._connection: Connection | None = None

    def get_session(self) -> AbstractContextManager[Session]:
        """As `UnitOfWork.get_session`.

        Raises:
            AttemptOverInThread: The attempt has ended.
            SessionAlreadyOpen, TransactionAborted, UnitOfWorkLost: As there.
        """
        return _Provided(self._session)

    def _session(self) -> Generator[Session, None, None]:
        unit = self._unit
        self._bridge.refuse_if_closed()
        unit.refuse_a_second()
        if unit.is_lost:
            self._connection = None
            in_greenlet(self._bridge.run, unit.replace)
        block = Block(unit.after_commit)
        session = JoiningSession(unit=self, block=block, expire_on_commit=False, autoflush=False)
        with unit.sessions.counted(session), block, _open(session):
            try:
                yield session
                session.commit()
            except BaseException as error:
                self._undo_block(session, error)
                unit.refuse_if_savepoint_gone(error)
                raise

    def _undo_block(self, session: Session, error: BaseException) -> None:
        if not self._unit.must_undo(error):
            return
        try:
            session.rollback()
        except SQLAlchemyError:
            in_greenlet(self._bridge.run, self._unit.doom, error)

    # -- as its sessions know it -------------------------------------------------------------------

    @property
    def join_mode(self) -> JoinTransactionMode:
        """How a session begins on the connection, in SQLAlchemy's words."""
        return self._unit.join_mode

    def connection(self) -> Connection:
        """The thread's own, with the transaction begun."""
        self._bridge.refuse_if_closed()
        known = self._connection
        if known is not None and known.in_transaction() and not known.invalidated:
            self._unit.refuse_if_lost()
            return known
        lent = in_greenlet(self._bridge.run, self._unit.connection)
        self._connection = made = connection_on(Lent(lent, self._bridge.run))
        made.begin()
        return made

    def joined(self, session: Session) -> None:
        """A session has committed into the transaction."""
        self._unit.joined(session)


class ThreadBlockSession(SyncBlockSession):
    """A session whose transaction is its own, in a thread."""

    def __init__(self, *args: Any, bridge: Bridge, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.bridge = bridge

    def commit(self) -> None:
        """Commit.

        Raises:
            AttemptSuperseded: The task was settled or taken over meanwhile.
            TransactionAborted: An earlier error had aborted the transaction.
        """
        try:
            super().commit()
        except DBAPIError as error:
            refusal = error
            self.bridge.run(lambda: self.blocks.refuse_if_superseded(refusal))
            raise
        if self.block.has_callbacks:
            self.bridge.run(self.block.call)


class ThreadBlocks:
    """The sessions of an ``atomic=False`` attempt: a transaction per block."""

    def __init__(self, blocks: SeparateBlocks, bridge: Bridge) -> None:
        self._blocks = blocks
        self._bridge = bridge
        self._engine: Engine = blocks.engine.execution_options()
        self._engine.raw_connection = self._lent  # type: ignore[method-assign, assignment]

    def get_session(self) -> AbstractContextManager[Session]:
        """As `SeparateBlocks.get_session`.

        Raises:
            AttemptOverInThread: The attempt has ended.
            AttemptSuperseded, TransactionAborted: As there.
        """
        return _Provided(self._session)

    def _session(self) -> Generator[Session, None, None]:
        self._bridge.refuse_if_closed()
        block = Block(self._blocks.after_commit)
        options = {**self._blocks.session_options, "bind": self._engine}
        session = ThreadBlockSession(
            **options, blocks=self._blocks, block=block, bridge=self._bridge
        )
        with self._blocks.sessions.counted(session), block, _open(session):
            yield session
            session.commit()

    def _lent(self) -> Lent:
        blocks, run = self._blocks, self._bridge.run
        return Lent(in_greenlet(run, blocks.lend), run, give_back=blocks.take_back)


class _Provided(_GeneratorContextManager[Session]):
    """A context manager that says what it is not."""

    def __init__(self, function: Callable[[], Generator[Session, None, None]]) -> None:
        super().__init__(function, (), {})

    async def __aenter__(self) -> NoReturn:
        raise TypeError(
            "the sessions of a task function that is a def are plain ones: write "
            '`with ctx["db"].get_session() as session`, without async and await; or make the '
            "function an async def"
        )

    async def __aexit__(self, *_: object) -> None:
        """Never reached."""


@contextmanager
def _open(session: CheckedSession) -> Generator[None, None, None]:
    """The block of `session`, which is closed for good at its end."""
    session.opened_at = place_of_caller()
    try:
        yield
    except GeneratorExit:  # it was forgotten, and collected by whichever thread
        raise
    except BaseException:
        session.close()
        raise
    else:
        session.close()
    finally:
        session.end(SessionEnded, AFTER_ITS_BLOCK.format('with ctx["db"].get_session()'))
