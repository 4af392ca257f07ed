"""Statements that can change nothing, and that end soon: for whoever only looks."""

from uow.db.database import Database
from uow.db.statement import TEXT, Records, Statement, template

_ONLY_READ = template(
    "only_read",
    # No plan reads a table as a whole that has an index, whatever is known of its size.
    """
    SELECT set_config('transaction_read_only', 'on', true),
           set_config('statement_timeout', :statement_timeout, true),
           set_config('lock_timeout', :statement_timeout, true),
           set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_sort', 'off', true), set_config('jit', 'off', true)
    """,
    statement_timeout=TEXT,
)


class ReadOnly:
    """Runs each statement in a transaction of its own, in which Postgres refuses every write.

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
        async with self._db.transaction(limit=seconds) as transaction:
            limits = _ONLY_READ(statement_timeout=f"{int(seconds * 1000)}ms")
            await transaction.execute_once(limits)
            return await transaction.execute_once(statement)
