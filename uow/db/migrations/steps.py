"""How one step is taken: by one process at a time, and by none that waits for a lock for long."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, inspect, text
from sqlalchemy.exc import DBAPIError

from uow.db import rights
from uow.db.database import Database
from uow.db.failures import sqlstate
from uow.db.fragments import quoted
from uow.errors import SchemaError

logger = logging.getLogger(__name__)

LOCK_SECONDS = 3.0
"""So long a step waits for a lock that it needs; then it lets others through and tries again."""

TRIES = 20

PAUSE_SECONDS = 1.0
"""Between two tries."""

CONCURRENT_LOCK_SECONDS = 600.0
"""So long a step that keeps nobody waiting waits for transactions that began before it."""

OTHERS_SECONDS = 3600.0
"""So long one process waits for another that migrates."""

OTHERS_PAUSE_SECONDS = 0.1

ADVISORY_LOCK = 0x776F726B6572
"""The word "worker": whoever migrates holds it."""

LOCK_NOT_AVAILABLE = "55P03"
"""SQLSTATE: not to be had within the time that a statement was given."""

_HOLDERS = text(
    """
    SELECT pid, usename, application_name, state, round(extract(epoch FROM now() - xact_start)) AS s
    FROM pg_catalog.pg_stat_activity
    WHERE pid IN (
        SELECT pid FROM pg_catalog.pg_locks AS held
        JOIN pg_catalog.pg_class AS relation ON relation.oid = held.relation
        JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
        WHERE granted AND pid <> pg_backend_pid() AND CAST(space.nspname AS text) = :schema
          AND CAST(relation.relname AS text) = ANY(:tables))
    ORDER BY xact_start LIMIT 3
    """
)

_OLDEST = text(
    """
    SELECT pid, usename, application_name, state, round(extract(epoch FROM now() - xact_start)) AS s
    FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    ORDER BY xact_start LIMIT 1
    """
)

Step = Callable[[Connection], bool]
"""One step in a transaction; returns whether there was one to do."""


async def in_transaction(
    db: Database,
    step: Step,
    tables: Sequence[str],
    source: str | None = None,
    *,
    of_app: bool = False,
) -> bool:
    """Run `step` in a transaction; again if it does not get a lock in time.

    Args:
        db: Where our schema is, or will be.
        step: What is to be done.
        tables: Whose locks it may wait for.
        source: Where the tables are, if they are not in the schema of `db`.
        of_app: What is done are an application's migrations, whose tables are elsewhere.

    Raises:
        SchemaError: Our role lacks a right; somebody holds a lock all the time, or another process
            migrates for an hour.
    """
    for _ in range(TRIES):
        try:
            return await _alone(db, step)
        except DBAPIError as error:
            if sqlstate(error) == rights.REFUSED:
                raise await _lacking(db, source, tables, error, of_app=of_app) from error
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
        holders = await _holders(db, source or db.schema, tables)
        logger.warning("waiting for a lock on our tables: %s", holders)
        await asyncio.sleep(PAUSE_SECONDS)
    raise SchemaError(
        f"a lock on our tables was not to be had, {TRIES} times for {LOCK_SECONDS:g} s: {holders}. "
        "End that transaction and migrate again; what was done so far stays"
    )


@contextlib.contextmanager
def outside(holder: Connection, *, pooler: bool) -> Iterator[Connection]:
    """A connection on which each statement is for itself, while `holder` keeps others away.

    Args:
        holder: Is in the transaction of a step, and does nothing meanwhile.
        pooler: The connection leads to a proxy that pools transactions.

    Raises:
        SchemaError: A transaction that began before has been open for too long.
    """
    # Whose last statement has read something keeps its snapshot until the next one, and an index
    # that is made CONCURRENTLY would wait for that. Nor may it be ended for doing nothing.
    holder.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    with holder.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        if not pooler:  # there it would be said to other sessions, too
            _limit(connection, "SESSION", CONCURRENT_LOCK_SECONDS)
        try:
            yield connection
        except DBAPIError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            raise SchemaError(
                "an index waits for each transaction of the database that began before it, and one "
                f"has been open for {CONCURRENT_LOCK_SECONDS:g} s: {_oldest(holder)}. End it and "
                "migrate again; what was done so far stays"
            ) from error
        finally:
            connection.invalidate()


async def _alone(db: Database, step: Step) -> bool:
    """Run `step` in a transaction in which nobody else migrates."""
    for _ in range(int(OTHERS_SECONDS / OTHERS_PAUSE_SECONDS)):
        async with db.engine.begin() as connection:
            if await connection.run_sync(_begin, db.schema):
                return await connection.run_sync(step)
        await asyncio.sleep(OTHERS_PAUSE_SECONDS)
    raise SchemaError(f"another process has been migrating for {OTHERS_SECONDS:g} s")


def _begin(connection: Connection, schema: str) -> bool:
    """Begin a step; False: another process takes one.

    The lock is asked for and not waited for: an index that is made CONCURRENTLY waits for every
    statement that began before it, one that waits for this lock included. Nor is a snapshot kept,
    whatever the database's default: it would wait for that, too.
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
    if not connection.scalar(
        text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK}
    ):
        return False
    _limit(connection, "LOCAL", LOCK_SECONDS)
    if not inspect(connection).has_schema(schema):
        connection.execute(text(f"CREATE SCHEMA {quoted(schema)}"))
    return True


def _limit(connection: Connection, scope: str, lock_seconds: float) -> None:
    """Let a step wait for locks that long; but large tables take their time."""
    connection.execute(text(f"SET {scope} lock_timeout = '{int(lock_seconds * 1000)}ms'"))
    connection.execute(text(f"SET {scope} statement_timeout = 0"))


async def _lacking(
    db: Database, source: str | None, tables: Sequence[str], error: DBAPIError, *, of_app: bool
) -> SchemaError:
    """What our role lacks, in a transaction that has not failed."""
    schemas = [db.schema] if source is None else [db.schema, source]
    async with db.engine.connect() as connection:
        if of_app:
            place = await connection.scalar(text("SELECT current_schema()"))
            schemas = [place or db.schema]
        return await connection.run_sync(rights.to_migrate, schemas, [*tables], error)


async def _holders(db: Database, schema: str, tables: Sequence[str]) -> str:
    """Who holds locks on our tables, the longest first."""
    async with db.engine.connect() as connection:
        found = await connection.execute(_HOLDERS, {"schema": schema, "tables": list(tables)})
        held = [_said_of(row) for row in found]
    return "; ".join(held) or "nobody holds one now"


def _oldest(connection: Connection) -> str:
    """The transaction that has been open for the longest time."""
    found = connection.execute(_OLDEST).first()
    return "none any more" if found is None else _said_of(found)


def _said_of(row: Row[Any]) -> str:
    return (
        f"process {row.pid} of {row.usename} ({row.application_name or 'no name'}, {row.state}, in "
        f"a transaction for {row.s or 0} s)"
    )
