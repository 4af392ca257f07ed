"""Moves our tables to another schema, with everything that is theirs and nothing that is not.

Rows, indexes, constraints, triggers, the sequences of columns, and grants belong to a table and go
along by themselves; what refers to it (a view, a foreign key) follows it. What lies beside it, the
types of its columns and the function of its trigger, is moved by name. Statements that somebody has
written with the old schema in them are theirs to change.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from uow.db.fragments import quoted
from uow.db.migrations.liveness import refuse_live_workers
from uow.db.whereabouts import VERSION_TABLE

DOMAINS = (
    "task_name", "task_queue", "task_priority", "task_run_at", "task_args", "task_ended",
    "task_headers",
)  # fmt: skip
"""The types of our columns; tables of an older version may have none, or others of somebody's."""

FUNCTIONS = ("worker_task_notify()", "worker_pause_notify()")
"""Of triggers of ours; tables of an older version have not all of them. They say TG_TABLE_SCHEMA,
so that they work wherever their table is."""

_DOMAINS = text(
    """
    SELECT DISTINCT CAST(domain.typname AS text)
    FROM pg_catalog.pg_attribute AS attribute
    JOIN pg_catalog.pg_class AS relation ON relation.oid = attribute.attrelid
    JOIN pg_catalog.pg_type AS domain
         ON domain.oid = attribute.atttypid AND domain.typnamespace = relation.relnamespace
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
    WHERE CAST(space.nspname AS text) = :schema AND CAST(relation.relname AS text) = ANY(:tables)
      AND domain.typtype = 'd' AND CAST(domain.typname AS text) = ANY(:domains)
    """
)

_GRANTEES = text(
    """
    SELECT DISTINCT CASE granted.grantee WHEN 0 THEN 'PUBLIC'
                    ELSE quote_ident(pg_get_userbyid(granted.grantee)) END
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
    CROSS JOIN LATERAL aclexplode(relation.relacl) AS granted
    WHERE CAST(space.nspname AS text) = :schema AND CAST(relation.relname AS text) = ANY(:tables)
      AND granted.grantee <> relation.relowner
    """
)


def move(connection: Connection, source: str, target: str, tables: Sequence[str]) -> None:
    """Move `tables`, all that we have in schema `source`, to the schema `target`, which is there.

    Who may use the tables may use their new schema, too.

    Raises:
        SchemaError: A worker lives.
    """
    old, new = quoted(source), quoted(target)
    moved = [*tables, VERSION_TABLE]
    locked = ", ".join(f"{old}.{table}" for table in moved)
    connection.execute(text(f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE"))
    if "worker_process" in tables:
        # Asked when the table is locked: who starts now finds no tables.
        refuse_live_workers(connection, source, "our tables cannot be moved")
    about = {"schema": source, "tables": moved}
    domains = connection.execute(_DOMAINS, {**about, "domains": list(DOMAINS)}).scalars().all()
    for grantee in connection.execute(_GRANTEES, about).scalars().all():
        connection.execute(text(f"GRANT USAGE ON SCHEMA {new} TO {_literally(grantee)}"))
    there = text("SELECT to_regprocedure(:name) IS NOT NULL")
    functions = [name for name in FUNCTIONS if connection.scalar(there, {"name": f"{old}.{name}"})]
    for kind, names in (("TABLE", moved), ("DOMAIN", domains), ("FUNCTION", functions)):
        for name in names:
            connection.execute(text(f"ALTER {kind} {old}.{name} SET SCHEMA {new}"))


def _literally(name: str) -> str:
    """A name that is quoted already, in a text whose colons mean parameters."""
    return name.replace(":", "\\:")
