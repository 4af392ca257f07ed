"""Indexes that are made and dropped CONCURRENTLY: reading and writing go on meanwhile.

Such a step is no transaction. If it is cut short, an index may be left that is written but never
read (invalid); so each does what is still to be done, and may be repeated.
"""

from alembic import context, op
from sqlalchemy import text

from uow.db.fragments import quoted

_VALID = text(
    """
    SELECT indisvalid FROM pg_catalog.pg_index AS index
    JOIN pg_catalog.pg_class AS relation ON relation.oid = index.indexrelid
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
    WHERE CAST(space.nspname AS text) = :schema AND CAST(relation.relname AS text) = :name
    """
)


def create(name: str, what: str) -> None:
    """Make an index of ours on `what`, a table and what follows it; it may be there, or half."""
    schema = context.config.attributes["schema"]
    if context.is_offline_mode():
        op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {quoted(schema)}.{what}")
        return
    valid = op.get_bind().execute(_VALID, {"schema": schema, "name": name}).scalar()
    if valid is False:
        drop(name)
    if not valid:
        op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {quoted(schema)}.{what}")


def drop(name: str) -> None:
    """Drop an index of ours; it may be gone."""
    schema = quoted(context.config.attributes["schema"])
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema}.{name}")
