"""A connection of the event loop's, lent to a thread: SQLAlchemy's own `Connection` there works on
it as on any driver's.

Its driver belongs to the loop. So this is a driver in its place, as far as SQLAlchemy needs one:
each statement, and each fetch of a server-side cursor, goes to the loop and comes back. So does the
end of a transaction, which the loop's `Connection` must know. What an ordinary cursor has fetched
is here already.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from uow.db.session import note_loss

T = TypeVar("T")


_READ = frozenset(
    {"_connection", "_connection_record", "autocommit", "is_detached", "isolation_level"}
    | {"record_info"}
)
"""What SQLAlchemy reads of a pooled connection, and of the driver's, without asking the server."""


class Run(Protocol):
    """Runs work on the event loop for the thread that waits for it; see `Bridge.run`."""

    def __call__(self, work: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run `work` there, and wait for it."""


def in_greenlet(run: Run, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call, on the loop, what blocks in SQLAlchemy's greenlet."""
    return run(lambda: greenlet_spawn(function, *args, **kwargs))


class Lent:
    """What a thread's `Connection` has in place of a pooled one.

    Args:
        connection: The loop's, its transaction begun.
        run: Runs work on the loop.
        give_back: Called, on the loop, when the thread closes it; None: it stays the attempt's.
    """

    def __init__(
        self,
        connection: Connection,
        run: Run,
        *,
        give_back: Callable[[Connection], None] | None = None,
    ) -> None:
        self._loops = connection
        self._pooled = connection.connection
        self._run = run
        self._give_back = give_back

    def __getattr__(self, name: str) -> Any:
        if name not in _READ:  # anything else might want the loop
            raise AttributeError(name)
        return getattr(self._pooled, name)

    @property
    def engine(self) -> Engine:
        """Where it comes from."""
        return self._loops.engine

    @property
    def dbapi_connection(self) -> Any:
        """Itself: nobody is to have the driver's."""
        return self

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection; to be asked only what it knows without the server."""
        return self._pooled.driver_connection

    @property
    def info(self) -> dict[str, Any]:
        """The pooled connection's."""
        return self._pooled.info

    @property
    def is_valid(self) -> bool:
        """Whether it is one still."""
        return self._pooled.is_valid

    def cursor(self, *, server_side: bool = False) -> "LentCursor":
        """A cursor; nothing is asked yet."""
        return LentCursor(self._pooled, self._run, server_side=server_side)

    def commit(self) -> None:
        """COMMIT."""
        in_greenlet(self._run, self._loops.commit)

    def rollback(self) -> None:
        """ROLLBACK."""
        in_greenlet(self._run, self._loops.rollback)

    def _close_special(self, *, transaction_reset: bool = False) -> None:
        self.close()  # what is reset, the loop's own connection knows

    def close(self) -> None:
        """The thread has done with it."""
        if self._give_back is not None:
            in_greenlet(self._run, self._give_back, self._loops)

    def invalidate(self, e: BaseException | None = None, soft: bool = False) -> None:
        """It is of no use any more."""
        in_greenlet(self._run, self._lose, e)

    @property
    def readonly(self) -> bool:
        """As the driver's."""
        return bool(self._driver.readonly)

    @readonly.setter
    def readonly(self, value: bool) -> None:
        self._driver.readonly = value

    @property
    def deferrable(self) -> bool:
        """As the driver's."""
        return bool(self._driver.deferrable)

    @deferrable.setter
    def deferrable(self, value: bool) -> None:
        self._driver.deferrable = value

    def set_isolation_level(self, level: str) -> None:
        """As the driver's."""
        in_greenlet(self._run, self._driver.set_isolation_level, level)

    @property
    def _driver(self) -> Any:
        return self._pooled.dbapi_connection

    def _lose(self, error: BaseException | None) -> None:
        if error is not None:
            note_loss(self._loops, error)
        if not self._loops.closed:
            self._loops.invalidate(error)


def connection_on(lent: Lent) -> Connection:
    """A `Connection` of the thread's own, of the same engine."""
    return Connection(lent.engine, lent)  # type: ignore[arg-type] # it is as good as one


class LentCursor:
    """A cursor of the driver's, which is made when it is used.

    Attributes:
        arraysize: As Python's database API has it.
    """

    def __init__(self, pooled: PoolProxiedConnection, run: Run, *, server_side: bool) -> None:
        self._pooled = pooled
        self._run = run
        self._server_side = server_side
        self._invalidate_schema_cache_asof = 0.0  # what SQLAlchemy's dialect tells a cursor
        self._cursor: Any = None
        self.arraysize = 1

    @property
    def description(self) -> Any:
        """Of the columns."""
        return None if self._cursor is None else self._cursor.description

    @property
    def rowcount(self) -> int:
        """Of the last statement."""
        return -1 if self._cursor is None else int(self._cursor.rowcount)

    def execute(self, operation: Any, parameters: Any = None) -> None:
        """Run a statement."""
        in_greenlet(self._run, self._execute, operation, parameters)

    def executemany(self, operation: Any, parameters: Sequence[Any]) -> None:
        """Run a statement with each of these."""
        in_greenlet(self._run, self._made().executemany, operation, parameters)

    def fetchone(self) -> Any:
        """The next row."""
        return self._fetch("fetchone")

    def fetchmany(self, size: int | None = None) -> Any:
        """The next rows."""
        return self._fetch("fetchmany", self.arraysize if size is None else size)

    def fetchall(self) -> Any:
        """All rows that are left."""
        return self._fetch("fetchall")

    def close(self) -> None:
        """Forget what was fetched; a server-side cursor ends with its transaction."""
        if self._cursor is not None:
            self._cursor.close()

    def setinputsizes(self, *_: object) -> None:
        """Nothing is done about them."""

    def setoutputsize(self, *_: object) -> None:
        """Nothing is done about them."""

    def _execute(self, operation: Any, parameters: Any) -> None:
        self._made().execute(operation, parameters)

    def _fetch(self, how: str, *args: Any) -> Any:
        fetch = getattr(self._cursor, how)
        return in_greenlet(self._run, fetch, *args) if self._server_side else fetch(*args)

    def _made(self) -> Any:
        options = {"server_side": True} if self._server_side else {}
        self._cursor = self._pooled.cursor(**options)
        self._cursor._invalidate_schema_cache_asof = self._invalidate_schema_cache_asof  # noqa: SLF001
        return self._cursor
