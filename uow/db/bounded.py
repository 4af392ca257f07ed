"""Reading for people: a short transaction in which no plan can become a scan of a table."""

import contextlib
from collections.abc import AsyncGenerator

from uow.db.database import Database
from uow.db.statement import TEXT, Records, Statement, template
from uow.db.transaction import Transaction

LONGEST_SECONDS = 5.0
"""What a statement of a question may take: then Postgres ends it."""

BOUND = template(
    "bound",
    # A plan is kept as long as its connection: one that was made while the table was small, or
    # without statistics, would read all of it from then on. SET LOCAL, which holds behind a pooler.
    """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_sort', 'off', true), set_config('jit', 'off', true),
           set_config('max_parallel_workers_per_gather', '0', true),
           set_config('statement_timeout', :longest, true),
           set_config('lock_timeout', :longest, true),
           set_config('transaction_read_only', 'on', true)
    """,
    longest=TEXT,
)
"""Reads nothing: it sets up the transaction, as its BEGIN does."""


@contextlib.asynccontextmanager
async def bounded_reading(
    db: Database, *, longest: float = LONGEST_SECONDS, limit: float | None = None
) -> AsyncGenerator[Transaction, None]:
    """A transaction that reads alone, by index alone.

    Args:
        longest: Seconds that a statement may take.
        limit: Seconds for all of it, the wait for a connection included; default: for four of them.

    Raises:
        asyncpg.QueryCanceledError: One took longer.
        asyncpg.PostgresError, asyncpg.InterfaceError, ServerUnreachable: As `Database.transaction`.
    """
    async with db.transaction(limit=limit or 4 * longest) as transaction:
        await transaction.execute_once(BOUND(longest=f"{int(longest * 1000)}ms"))
        yield transaction


class ReadOnly:
    """Runs each statement in such a transaction of its own: for whoever only looks.

    Args:
        seconds: So long a statement may take, the wait for a connection included.
    """

    def __init__(self, db: Database, seconds: float) -> None:
        self._db = db
        self._seconds = seconds
        self.schema = db.schema

    async def execute_once(self, statement: Statement, *, limit: float | None = None) -> Records:
        """Run it.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
            ServerUnreachable: Postgres did not answer in time.
            sqlalchemy.exc.TimeoutError: No connection of the pool came free in time.
        """
        seconds = min(self._seconds, limit or self._seconds)
        async with bounded_reading(self._db, longest=seconds, limit=seconds) as reading:
            return await reading.execute_once(statement)
