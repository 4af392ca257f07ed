"""What of somebody else's keeps the type of a column of ours from being changed."""

from collections.abc import Sequence
from typing import Any

from alembic import context
from sqlalchemy import Connection, Result, text

from uow.errors import SchemaError

_VIEWS = text(
    """
    SELECT DISTINCT format('%I.%I', space.nspname, view.relname)
    FROM pg_catalog.pg_depend AS depend
    JOIN pg_catalog.pg_rewrite AS rule ON rule.oid = depend.objid
    JOIN pg_catalog.pg_class AS view ON view.oid = rule.ev_class
    JOIN pg_catalog.pg_namespace AS space ON space.oid = view.relnamespace
    JOIN pg_catalog.pg_attribute AS attribute
         ON attribute.attrelid = depend.refobjid AND attribute.attnum = depend.refobjsubid
    JOIN pg_catalog.pg_class AS ours ON ours.oid = depend.refobjid
    WHERE depend.classid = CAST('pg_catalog.pg_rewrite' AS regclass)
      AND CAST(ours.relnamespace AS regnamespace) = CAST(quote_ident(:schema) AS regnamespace)
      AND ours.relname = 'task' AND CAST(attribute.attname AS text) = ANY(:columns)
    """
)

# Expressions on a column are none of these: most mean the same for its new type.
_INDEXES = text(
    """
    SELECT format('%I.%I', space.nspname, relation.relname)
    FROM pg_catalog.pg_index AS index
    JOIN pg_catalog.pg_class AS relation ON relation.oid = index.indexrelid
    JOIN pg_catalog.pg_class AS ours ON ours.oid = index.indrelid
    JOIN pg_catalog.pg_namespace AS space ON space.oid = ours.relnamespace
    JOIN pg_catalog.pg_attribute AS attribute
         ON attribute.attrelid = ours.oid AND attribute.attnum = ANY(index.indkey)
    WHERE CAST(space.nspname AS text) = :schema AND ours.relname = 'task'
      AND CAST(attribute.attname AS text) = ANY(:columns)
    """
)


def refuse_views(connection: Connection, schema: str, columns: Sequence[str]) -> None:
    """Name the views that keep the types of these columns of `task`, which Postgres would not.

    Raises:
        SchemaError: There are some.
    """
    if context.is_offline_mode():
        return  # Postgres says it, though in words of its own
    _refuse("views", connection.execute(_VIEWS, {"schema": schema, "columns": list(columns)}))


def refuse_indexes(connection: Connection, schema: str, columns: Sequence[str]) -> None:
    """Name the indexes that could not be made of these columns of `task` with another type.

    Raises:
        SchemaError: There are some.
    """
    if context.is_offline_mode():
        return
    _refuse("indexes", connection.execute(_INDEXES, {"schema": schema, "columns": list(columns)}))


def _refuse(kind: str, found: Result[Any]) -> None:
    if names := ", ".join(sorted(found.scalars())):
        raise SchemaError(
            f"these {kind} show columns of ours whose types change: {names}. Drop them, migrate, "
            "and create them again"
        )
