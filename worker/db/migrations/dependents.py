"""What of somebody else's keeps the type of a column of ours from being changed."""

from collections.abc import Sequence

from sqlalchemy import Connection, text

from worker.errors import SchemaError

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


def refuse(connection: Connection, schema: str, columns: Sequence[str]) -> None:
    """Name the views that keep the types of these columns of `task` as they are.

    Postgres would not say which.

    Raises:
        SchemaError: There are some.
    """
    found = connection.execute(_VIEWS, {"schema": schema, "columns": list(columns)})
    if views := ", ".join(sorted(found.scalars())):
        raise SchemaError(
            f"these views show columns of ours whose types change: {views}. Drop them, migrate, "
            "and create them again"
        )
