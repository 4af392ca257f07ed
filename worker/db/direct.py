"""Statements that are given to the driver as they are, past SQLAlchemy's execution.

That execution costs 200 to 250 µs of processor time, which is nothing for a user's query and much
for the few statements that a worker runs for every task. What comes back is SQLAlchemy's `Result`
all the same. Errors are asyncpg's own; `worker.db.failures` knows both kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Result, TextClause
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.pool import PoolProxiedConnection

from worker.db.connection import Connection

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as the driver wants it: parameters by number, with their types."""

    sql: str
    names: tuple[str, ...]


async def execute(
    connection: Connection, statement: TextClause, parameters: Mapping[str, object]
) -> Result[Any]:
    """Run `statement`, in the transaction that `connection` is in or else in one of its own.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
    """
    compiled = _compiled(statement)
    values = [parameters[name] for name in compiled.names]
    records = await connection.fetch(compiled.sql, *values)
    columns = tuple(records[0].keys()) if records else ("nothing",)
    return IteratorResult(_metadata(columns), map(tuple, records))


def commit_only_after(
    connection: Connection,
    statement: TextClause,
    parameters: Mapping[str, object],
    *,
    prepare: bool,
) -> None:
    """`Connection.commit_only_after`, with parameters by name."""
    compiled = _compiled(statement)
    values = [parameters[name] for name in compiled.names]
    connection.commit_only_after(compiled.sql, values, prepare=prepare)


def driver_of(connection: PoolProxiedConnection) -> Connection:
    """The driver's connection behind a pooled one."""
    driver = connection.driver_connection
    assert isinstance(driver, Connection)  # noqa: S101 - `Database` has made it
    return driver


@lru_cache(maxsize=500)
def _compiled(statement: TextClause) -> _Compiled:
    compiled = statement.compile(dialect=_DIALECT)
    return _Compiled(str(compiled), tuple(compiled.positiontup or ()))


@lru_cache(maxsize=500)
def _metadata(columns: tuple[str, ...]) -> SimpleResultMetaData:
    return SimpleResultMetaData(columns)
