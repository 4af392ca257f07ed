"""Who may use a table that is new: whoever may use those that were there.

Default privileges need not be of the schema that the tables are in, and come too late for it if it
was there before them.
"""

import sqlalchemy as sa
from sqlalchemy import Connection

from uow.db.fragments import quoted

_RIGHTS = sa.text(
    """
    SELECT string_agg(DISTINCT granted.privilege_type, ', ') AS privileges,
           CASE granted.grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(granted.grantee)) END AS grantee,
           CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS further
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
    CROSS JOIN LATERAL aclexplode(
        coalesce(relation.relacl, acldefault('r', relation.relowner))) AS granted
    WHERE CAST(space.nspname AS text) = :schema
      AND CAST(relation.relname AS text) = 'worker_process'
      AND pg_get_userbyid(granted.grantee) <> current_user
    GROUP BY granted.grantee, granted.is_grantable
    """
)


def let_workers_use(connection: Connection, schema: str, *tables: str) -> None:
    """Grant on these tables what is granted on `worker_process`."""
    named = ", ".join(f"{quoted(schema)}.{table}" for table in tables)
    for row in connection.execute(_RIGHTS, {"schema": schema}).all():
        grantee = row.grantee.replace(":", "\\:")
        connection.execute(sa.text(f"GRANT {row.privileges} ON {named} TO {grantee}{row.further}"))
