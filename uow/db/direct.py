"""Statements that are given to the driver as they are, past SQLAlchemy's execution.

That execution costs 200 to 250 µs of processor time, which is nothing for a user's query and much
for the few statements that a worker runs for every task. `fetch` gives the driver's records,
`execute` SQLAlchemy's `Result` of them. Errors are asyncpg's own; `uow.db.failures` knows both
kinds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import BindParameter, Result, TextClause
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.pool import PoolProxiedConnection

from uow.db.connection import Connection

SPOILT = (
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""Errors of a connection that serves nobody any more: its prepared statements are gone (somebody
has said DEALLOCATE ALL) or of a table as it was (before a migration), or it may only read (it leads
to no primary)."""

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Place:
    """What goes to one place of a statement."""

    name: str
    required: bool
    default: object
    process: Callable[[Any], Any] | None

    def value(self, parameters: Mapping[str, object]) -> object:
        """The value as the driver wants it.

        Raises:
            KeyError: It is required and not there.
        """
        value = parameters[self.name] if self.required else parameters.get(self.name, self.default)
        return value if self.process is None else self.process(value)


async def execute(
    connection: Connection, statement: TextClause, parameters: Mapping[str, object]
) -> Result[Any]:
    """Run `statement`, in the transaction that `connection` is in or else in one of its own.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
    """
    return result_of(await fetch(connection, *written(statement, parameters)))


async def fetch(connection: Connection, sql: str, values: Sequence[object]) -> list[asyncpg.Record]:
    """Run `sql` with `values` for ``$1``, ``$2``, …, as `execute` does.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
    """
    try:
        records: list[asyncpg.Record] = await connection.fetch(sql, *values)
    except SPOILT:
        connection.is_spoilt = True
        raise
    except asyncpg.InternalClientError as error:
        # The server has said its last word while the connection stood idle, and its end comes.
        connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError(f"the connection is lost: {error}") from error
    return records


def written(statement: TextClause, parameters: Mapping[str, object]) -> tuple[str, list[object]]:
    """Text and values as the driver wants them.

    Raises:
        KeyError: A parameter is missing.
    """
    sql, places = compiled(statement)
    return sql, [place.value(parameters) for place in places]


def result_of(records: Sequence[asyncpg.Record]) -> Result[Any]:
    """The driver's records as SQLAlchemy would give them."""
    columns = tuple(records[0].keys()) if records else ("nothing",)
    return IteratorResult(_metadata(columns), map(tuple, records))


def driver_of(connection: PoolProxiedConnection) -> Connection:
    """The driver's connection behind a pooled one."""
    driver = connection.driver_connection
    assert isinstance(driver, Connection)  # noqa: S101 - `Database` has made it
    return driver


@lru_cache(maxsize=500)
def compiled(statement: TextClause) -> tuple[str, tuple[Place, ...]]:
    """A statement as the driver wants it: with types, and with parameters by number."""
    text = statement.compile(dialect=_DIALECT)
    return str(text), tuple(_place_of(text.binds[name]) for name in text.positiontup or ())


def _place_of(bind: BindParameter[Any]) -> Place:
    process = bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
    return Place(bind.key, bind.required, bind.value, process)


@lru_cache(maxsize=500)
def _metadata(columns: tuple[str, ...]) -> SimpleResultMetaData:
    return SimpleResultMetaData(columns)
