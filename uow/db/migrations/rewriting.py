"""When the table of tasks may be written anew: nobody can enqueue, run or read a task meanwhile."""

import logging

from alembic import context, op
from sqlalchemy import Connection, text

from uow.db.fragments import quoted
from uow.db.migrations.liveness import ALIVE_SECONDS, NO_WORKER_LIVES, refuse_live_workers
from uow.errors import SchemaError

logger = logging.getLogger(__name__)

MOST_ROWS = 1_000_000
"""So many tasks at most are written anew without somebody asking for it."""

SECONDS_PER_ROW = 10e-6
"""Of small tasks, on two cores."""

# Counted as far as it matters; beyond that the server's estimate will do.
_ROWS = """
SELECT greatest((SELECT count(*) FROM (SELECT FROM {schema}.task LIMIT :most) AS few),
                (SELECT CAST(reltuples AS bigint) FROM pg_catalog.pg_class AS relation
                 JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
                 WHERE CAST(nspname AS text) = :schema AND relname = 'task'))
"""


def refuse_unless_due(connection: Connection, schema: str, *, asked_for: bool) -> None:
    """Return when the tasks may be written anew now, having said how long that takes.

    Raises:
        SchemaError: A worker lives; or there are many tasks, and nobody has `asked_for` it.
    """
    if context.is_offline_mode():
        op.execute(NO_WORKER_LIVES.format(schema=quoted(schema), seconds=ALIVE_SECONDS))
        return
    refuse_live_workers(connection, schema, "the tasks cannot be written anew")
    rows = _rows(connection, schema)
    length = f"{rows:,} tasks are written anew, which takes about {_seconds(rows)} s or, if they "
    length += "are large, longer; nobody can enqueue or read one meanwhile"
    if rows > MOST_ROWS and not asked_for:
        raise SchemaError(
            f"{length}. Choose the time for it and run `worker migrate --rewrite`; what was done "
            "so far stays"
        )
    if rows:
        logger.warning("%s", length)


def _rows(connection: Connection, schema: str) -> int:
    statement = text(_ROWS.format(schema=quoted(schema)))
    about = {"most": MOST_ROWS + 1, "schema": schema}
    return int(connection.execute(statement, about).scalar_one())


def _seconds(rows: int) -> int:
    return max(1, round(rows * SECONDS_PER_ROW))
