"""Reading for people: a short transaction in which no plan can become a scan of a table."""

import contextlib
from collections.abc import AsyncGenerator

from uow.db.database import Database
from uow.db.statement import TEXT, template
from uow.db.transaction import Transaction

LONGEST_SECONDS = 5.0
"""What a statement of a question may take: then Postgres ends it."""

_BOUND = template(
    "bound",
    # A plan is kept as long as its connection: one that was made while the table was small, or
    # without statistics, would read all of it from then on. SET LOCAL, which holds behind a pooler.
    """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_sort', 'off', true), set_config('jit', 'off', true),
           set_config('max_parallel_workers_per_gather', '0', true),
           set_config('statement_timeout', :longest, true),
           set_config('transaction_read_only', 'on', true)
    """,
    longest=TEXT,
)


@contextlib.asynccontextmanager
async def bounded_reading(
    db: Database, *, longest: float = LONGEST_SECONDS
) -> AsyncGenerator[Transaction, None]:
    """A transaction that reads alone, by index alone.

    Args:
        longest: Seconds that a statement may take.

    Raises:
        asyncpg.QueryCanceledError: One took longer.
        asyncpg.PostgresError, asyncpg.InterfaceError, ServerUnreachable: As `Database.transaction`.
    """
    async with db.transaction(limit=4 * longest) as transaction:
        await transaction.execute_once(_BOUND(longest=f"{int(longest * 1000)}ms"))
        yield transaction
