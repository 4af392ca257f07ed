"""The test's own transaction: everything happens inside it, in savepoints, and nothing commits.

Three kinds of statements meet on its one connection: those of sessions (the test's, a request's, a
task's), which SQLAlchemy says; ours about tasks, each in a savepoint of its own; and ours of an
attempt. One lock, the one that SQLAlchemy's driver has, keeps each of them whole.

In reality a report of progress, say, is committed by itself while its attempt goes on, and stays if
that fails. So such statements are kept while an attempt is open, and said again after a ROLLBACK
that has undone them.
"""

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only, greenlet_spawn

from uow.db.session import FIRST_ERROR, ended_by_hand
from uow.db.statement import Records
from uow.tasks.binding import Caller, place_of
from uow.testing.errors import NotRolledBack, TransactionLost

T = TypeVar("T")

FIXTURE = """
    @pytest.fixture
    async def session():
        async with engine.connect() as connection:
            transaction = await connection.begin()
            async with AsyncSession(
                connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
            ) as session:
                yield session
            await transaction.rollback()"""
"""What the test's session is made like."""

_ENDS = re.compile(
    r"(?:\s|;|--[^\n]*\n|/\*.*?\*/)*(COMMIT|END|ABORT|BEGIN|START|PREPARE\s+TRANSACTION|ROLLBACK(?!.*\bTO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
"""Statements that would end the test's transaction, or begin another."""

_SPOKEN = ("idle_in_transaction_session_timeout", "role", "search_path", "statement_timeout",
           "lock_timeout")  # fmt: skip
"""What statements of ours set for the rest of a transaction, which here is the test's."""

_NOW = f"SELECT {', '.join(f'current_setting({name!r})' for name in _SPOKEN)}"
_AGAIN = "SELECT {}".format(
    ", ".join(f"set_config('{name}', ${n}, true)" for n, name in enumerate(_SPOKEN, 1))
)


class OuterTransaction:
    """The transaction that the test's session works in.

    Args:
        session: Bound to a connection whose transaction somebody rolls back at the end.

    Attributes:
        connection: Its connection.

    Raises:
        NotRolledBack: The session is bound to something else, so that what a test does would stay.
    """

    def __init__(self, session: Caller) -> None:
        self.session: AsyncSession = _session_of(session)
        self.connection = _connection_of(self.session.sync_session)
        self._lost: str | None = None
        self._settings: Sequence[object] | None = None
        self._said: list[tuple[str, Sequence[object]]] | None = None
        self._on_write: list[Callable[[], None]] = []
        event.listen(self.connection, "before_cursor_execute", self._before)
        event.listen(self.connection, "after_cursor_execute", self._after)
        event.listen(self.connection.engine, "handle_error", self._note)

    def close(self) -> None:
        """Leave the connection alone from now on."""
        event.remove(self.connection, "before_cursor_execute", self._before)
        event.remove(self.connection, "after_cursor_execute", self._after)
        event.remove(self.connection.engine, "handle_error", self._note)

    def on_write(self, look: Callable[[], None]) -> None:
        """Call `look` after whatever may have changed a row, in SQLAlchemy's greenlet."""
        self._on_write.append(look)

    # -- whether it is there still -----------------------------------------------------------------

    @property
    def is_lost(self) -> bool:
        """Whether its connection, and with it all that the test has done, is gone."""
        return self._lost is not None or self.connection.invalidated or self.connection.closed

    def lose(self, why: str) -> None:
        """Nobody knows what the connection does any more."""
        self._lost = self._lost or why

    def refuse_if_lost(self) -> None:
        """Raise if it is gone.

        Raises:
            TransactionLost: It is; with the reason.
        """
        if self.is_lost:
            raise TransactionLost(
                self._lost
                or "the test's own connection is lost, and with it all that the test has done: a "
                "statement was cut off in the middle, by a timeout or a cancellation, which costs "
                "its connection, or Postgres has ended it. Raise the timeout; or, if it is what "
                "you test, use the fixture embedded_tasks, which has real connections"
            )

    # -- statements of ours, each in a savepoint ---------------------------------------------------

    async def fetch(self, sql: str, values: Sequence[object] = ()) -> Records:
        """Run a statement as if in a transaction of its own.

        Raises:
            asyncpg.PostgresError: As the driver says it; the transaction goes on.
        """
        async with self.together():
            return await self.say(sql, values)

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Let what is said in the block happen, or nothing of it; as if in a transaction."""
        await self._begin()
        async with self._lock():
            await self._driver.execute("SAVEPOINT uow_own")
            try:
                yield
            except BaseException:
                await self._driver.execute("ROLLBACK TO uow_own; RELEASE uow_own")
                raise
            await self._driver.execute("RELEASE uow_own")

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """Undo at its end whatever was done in the block; sessions that began in it have ended."""
        await self._begin()
        await self._alone("SAVEPOINT uow_undone")
        try:
            yield
        finally:
            if not self.is_lost:
                await self._alone("ROLLBACK TO uow_undone; RELEASE uow_undone")

    async def say(self, sql: str, values: Sequence[object] = ()) -> Records:
        """Run a statement in the block of `together`."""
        records: Records = await self._driver.fetch(sql, *values)
        if "idle_in_transaction_session_timeout" in sql and self._settings is not None:
            await self._driver.fetch(_AGAIN, *self._settings)
        if self._said is not None and not sql.lstrip().startswith("SELECT"):
            self._said.append((sql, values))
        return records

    def read(self, sql: str, values: Sequence[object] = ()) -> Records:
        """Read, in SQLAlchemy's greenlet, past its events: a test may count statements."""
        return self.wait_for(self._locked(sql, values))

    def wait_for(self, something: Coroutine[Any, Any, T]) -> T:
        """What it returns; in SQLAlchemy's greenlet."""
        return await_only(something)

    # -- an attempt, as a savepoint ----------------------------------------------------------------

    def attempt_begins(self) -> None:
        """From now on what is said beside it has to outlive its rollback (in the greenlet)."""
        self._settings = tuple(self.read(_NOW)[0])
        self._said = []

    def attempt_ends(self) -> None:
        """Nothing undoes any more what was said beside it."""
        self._said = None

    def as_before(self) -> None:
        """Set what was set before the attempt, for what is said after it (in the greenlet)."""
        self.read(_AGAIN, self._settings or ())

    # -- below -------------------------------------------------------------------------------------

    @property
    def _driver(self) -> Any:
        return self.connection.connection.driver_connection

    def _lock(self) -> Any:
        """SQLAlchemy's own, which it holds for each statement: the only one that all go through."""
        adapted: Any = self.connection.connection.dbapi_connection
        return adapted._execute_mutex  # noqa: SLF001

    async def _alone(self, sql: str) -> None:
        async with self._lock():
            await self._driver.execute(sql)

    async def _locked(self, sql: str, values: Sequence[object]) -> Records:
        async with self._lock():
            records: Records = await self._driver.fetch(sql, *values)
            return records

    async def _begin(self) -> None:
        """Let the transaction begin in Postgres, too: the driver waits for its first statement."""
        self.refuse_if_lost()
        if self._settings is None:
            await greenlet_spawn(self.connection.exec_driver_sql, "SELECT 1")
            self._settings = tuple((await self._locked(_NOW, ()))[0])

    def _before(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if _ENDS.match(statement):
            raise ended_by_hand()

    def _after(self, connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("ROLLBACK TO") and self._said:
            self.wait_for(self._say_again(self._said))
        if not statement.startswith(("SELECT", "SAVEPOINT", "RELEASE")):
            for look in self._on_write:
                look()

    async def _say_again(self, said: Sequence[tuple[str, Sequence[object]]]) -> None:
        async with self._lock():
            for sql, values in said:
                await self._driver.fetch(sql, *values)

    def _note(self, context: Any) -> None:
        """Remember the first error: a commit that finds the transaction aborted names it."""
        if context.connection is self.connection and not context.is_disconnect:
            error = context.sqlalchemy_exception or context.original_exception
            self.connection.info.setdefault(FIRST_ERROR, error)


def _session_of(session: Caller) -> AsyncSession:
    place = place_of(session)
    if not isinstance(place, AsyncSession):
        raise NotRolledBack(f"tasks(…) needs an AsyncSession, as this fixture makes it:\n{FIXTURE}")
    return place


def _connection_of(session: Session) -> Connection:
    bind = session.bind
    if not isinstance(bind, Connection):
        raise NotRolledBack(
            "the session is bound to no connection, so what the test does would be committed: "
            f"make the fixture `session` as this one:\n{FIXTURE}"
        )
    fault = _fault_of(session, bind)
    if fault is not None:
        raise NotRolledBack(f"{fault}: make the fixture `session` as this one:\n{FIXTURE}")
    return bind


def _fault_of(session: Session, bind: Connection) -> str | None:
    if bind.dialect.driver != "asyncpg":
        return f"the session's driver is {bind.dialect.driver}, and not asyncpg"
    if not bind.in_transaction():
        return "the session's connection is in no transaction that could be rolled back"
    if session.join_transaction_mode != "create_savepoint":
        return (
            f"the session has join_transaction_mode={session.join_transaction_mode!r}, so its "
            "rollback would end the test's transaction"
        )
    return None
