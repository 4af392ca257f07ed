"""What to say when Postgres refuses our role something: one line, with the grant that is missing.

docs/database.md has the grants of each role; a test runs them.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Row, text

from uow.db.fragments import quoted
from uow.errors import SchemaError

REFUSED = "42501"
"""SQLSTATE: insufficient privilege."""

_FOUND = text(
    """
    SELECT quote_ident(current_user) AS role, quote_ident(current_database()) AS database,
           wanted.name AS schema, quote_ident(wanted.name) AS quoted,
           space.oid IS NOT NULL AS there,
           has_database_privilege(current_database(), 'CREATE') AS may_make_schemas,
           coalesce(has_schema_privilege(space.oid, 'USAGE'), false)
               AND coalesce(has_schema_privilege(space.oid, 'CREATE'), false) AS may_make_tables,
           ARRAY(SELECT DISTINCT quote_ident(pg_get_userbyid(relation.relowner))
                 FROM pg_catalog.pg_class AS relation
                 WHERE relation.relnamespace = space.oid
                   AND CAST(relation.relname AS text) = ANY(:tables)
                   AND NOT pg_has_role(relation.relowner, 'USAGE')) AS others
    FROM unnest(CAST(:schemas AS text[])) AS wanted (name)
    LEFT JOIN pg_catalog.pg_namespace AS space ON CAST(space.nspname AS text) = wanted.name
    """
)


def to_migrate(
    connection: Connection, schemas: Sequence[str], tables: Sequence[str], error: BaseException
) -> SchemaError:
    """What a role lacks that has been refused something while it migrated.

    Args:
        schemas: The one that is to have our tables, or an application's; and one that has had
            them.
        tables: Ours; none if it is about an application.
        error: The refusal.
    """
    found = connection.execute(_FOUND, {"schemas": [*schemas], "tables": [*tables]}).all()
    lacks = [line for row in found for line in _lacks(row, makes_tables=row.schema == schemas[0])]
    advice = "; ".join(lacks) or "docs/database.md has what the role needs that migrates"
    return SchemaError(f"Postgres refuses this to role {found[0].role} ({_said(error)}): {advice}")


def to_enqueue(schema: str, role: str | None, error: BaseException) -> SchemaError:
    """What a role lacks that has been refused an enqueue.

    Args:
        role: Who has logged in, as far as that is known.
    """
    grants = _grants(schema, role, "SELECT, INSERT", "task")
    return SchemaError(
        f"Postgres refuses to let a task be enqueued ({_said(error)}): {grants} (or to the role "
        "that the session has SET)"
    )


def to_identify(schema: str, role: str | None, error: BaseException) -> SchemaError:
    """What a role lacks that has been refused the tables that say who we are.

    Args:
        role: Who has logged in, as far as that is known.
    """
    rights = "SELECT, INSERT, UPDATE, DELETE"
    grants = _grants(schema, role, rights, "worker_identity", "worker_app")
    return SchemaError(
        f"Postgres refuses to say whose the tables are ({_said(error)}): {grants} "
        "(docs/database.md has all that a worker needs)"
    )


def _grants(schema: str, role: str | None, rights: str, *tables: str) -> str:
    name, whom = quoted(schema), f'"{role}"' if role else "its role"
    named = ", ".join(f"{name}.{table}" for table in tables)
    return f"GRANT USAGE ON SCHEMA {name} TO {whom}; GRANT {rights} ON {named} TO {whom}"


def _lacks(row: Row[tuple[object, ...]], *, makes_tables: bool) -> list[str]:
    """What somebody who may has to say, about one schema."""
    lines: list[str] = []
    if makes_tables and not row.there and not row.may_make_schemas:
        lines.append(
            f"CREATE SCHEMA {row.quoted} AUTHORIZATION {row.role}, or GRANT CREATE ON DATABASE "
            f"{row.database} TO {row.role}"
        )
    if makes_tables and row.there and not row.may_make_tables:
        lines.append(f"GRANT USAGE, CREATE ON SCHEMA {row.quoted} TO {row.role}")
    if row.others:
        lines.append(
            f"the tables in {row.quoted} belong to {' and '.join(row.others)}: migrate as that "
            f"role, or GRANT {row.others[0]} TO {row.role}"
        )
    return lines


def _said(error: BaseException) -> str:
    """Postgres's own words."""
    said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    return said.rpartition(">: ")[2]  # SQLAlchemy puts the driver's class before them
