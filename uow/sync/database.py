"""Statements of ours in transactions of their own, without asyncio."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from uow.db.cursor import run_with
from uow.db.failures import sqlstate
from uow.db.statement import SILENT_SECONDS, Records, Run, Statement
from uow.errors import ServerUnreachable, SettingsError
from uow.telemetry.description import on_one_line

_UNDONE = ("40001", "40P01")
"""SQLSTATEs of what Postgres has undone because of another transaction."""

_CANCELLED = "57014"
"""SQLSTATE: it took longer than `statement_timeout`."""


class SyncDatabase:
    """A way to Postgres for statements of ours; any thread may use it.

    Its methods are coroutine functions that wait for nothing (`immediately`), so that it can stand
    where a `Database` stands.

    Args:
        engine: Of psycopg or psycopg2.
        schema: Where our tables are.
    """

    def __init__(self, engine: Engine, schema: str) -> None:
        self.engine = engine
        self.schema = schema
        self._is_over = False
        self._each = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._together = engine.execution_options(isolation_level="READ COMMITTED")

    async def execute_once(self, statement: Statement, *, limit: float = SILENT_SECONDS) -> Records:
        """Run one statement in a transaction of its own: one round trip.

        What Postgres has undone because of another transaction is repeated once.

        Raises:
            DBAPIError: As SQLAlchemy says it.
            ServerUnreachable: Postgres did not answer. What it was asked to do it may have done.
            sqlalchemy.exc.TimeoutError: No connection of the pool came free.
        """
        with self._connected(self._each) as connection:
            try:
                return _run(connection, self.schema, statement)
            except DBAPIError as error:
                if sqlstate(error) not in _UNDONE:
                    raise
            return _run(connection, self.schema, statement)

    def dispose(self) -> None:
        """Close the connections: those in use when they come back."""
        self._is_over = True
        self.engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[tuple[Connection, Run]]:
        """A READ COMMITTED transaction, and what runs statements of ours in it.

        Raises:
            DBAPIError, ServerUnreachable, sqlalchemy.exc.TimeoutError: As `execute_once`.
        """
        with self._connected(self._together) as connection, connection.begin():
            yield connection, partial(_run, connection, self.schema)

    @contextlib.contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        try:
            connection = engine.connect()
        except DBAPIError as error:
            raise _why_none_came(error) from error
        except PoolTimeout as error:
            raise PoolTimeout(
                "no connection to Postgres came free: all of the pool's are in use. Use fewer "
                "threads, or set WORKER_POOL_SIZE higher"
            ) from error
        with connection:
            try:
                yield connection
            except DBAPIError as error:
                if error.connection_invalidated or connection.invalidated:
                    raise _lost(error) from error
                if sqlstate(error) == _CANCELLED:
                    raise _silent() from error
                raise
            finally:
                if self._is_over and not connection.invalidated:
                    connection.invalidate()


def _run(connection: Connection, schema: str, statement: Statement) -> Records:
    """Run a statement past SQLAlchemy, and say its errors as that would."""
    pooled = connection.connection
    cursor = pooled.cursor()
    try:
        return run_with(cursor, schema, statement)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemys(connection, error) from error
    except BaseException:  # a signal's, in the middle of something
        connection.invalidate()
        raise
    finally:
        cursor.close()


def _as_sqlalchemys(connection: Connection, error: Exception) -> BaseException:
    dialect, dbapi = connection.dialect, connection.dialect.loaded_dbapi
    is_lost = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)  # type: ignore[arg-type]
    if is_lost:
        connection.invalidate(error)
    made: Any = DBAPIError.instance(
        None, None, error, dbapi.Error, hide_parameters=True,
        connection_invalidated=is_lost, dialect=dialect, ismulti=False,
    )  # fmt: skip
    return made  # type: ignore[no-any-return]


def _why_none_came(error: DBAPIError) -> Exception:
    said = _said(error)
    if "invalid connection option" in said or "invalid URI" in said:
        return SettingsError(f"the database URL has what libpq does not know: {said}")
    return ServerUnreachable(f"Postgres cannot be reached ({said})")


def _lost(error: DBAPIError) -> ServerUnreachable:
    return ServerUnreachable(
        f"the connection to Postgres was lost ({_said(error)}); what it was asked "
        "to do it may have done"
    )


def _said(error: DBAPIError) -> str:
    return on_one_line(" ".join(str(error.orig).split()))


def _silent() -> ServerUnreachable:
    return ServerUnreachable(
        f"Postgres has not answered for {SILENT_SECONDS:.0f} s (is a row locked?): the statement "
        "was cancelled"
    )
