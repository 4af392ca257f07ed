"""Rights on tables that a later version adds: default privileges need not be of this schema."""

import sqlalchemy as sa
from alembic import context, op

from uow.db.fragments import quoted

_RIGHTS = """
    SELECT string_agg(DISTINCT granted.privilege_type, ', ') AS privileges,
           CASE granted.grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(granted.grantee)) END AS grantee,
           CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS further
    FROM pg_catalog.pg_class AS relation
    JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
    CROSS JOIN LATERAL aclexplode(
        coalesce(relation.relacl, acldefault('r', relation.relowner))) AS granted
    WHERE CAST(space.nspname AS text) = {schema}
      AND CAST(relation.relname AS text) = 'worker_process'
      AND pg_get_userbyid(granted.grantee) <> current_user
    GROUP BY granted.grantee, granted.is_grantable
"""
"""Who may do what with a table that each worker needs, but whom the new tables belong to."""

_GRANT = """
DO $grant$ DECLARE may record; BEGIN
    FOR may IN {rights} LOOP
        EXECUTE format('GRANT %s ON {named} TO %s%s', may.privileges, may.grantee, may.further);
    END LOOP;
END $grant$
"""


def let_workers_use(schema: str, *tables: str) -> None:
    """Grant on `tables` what is granted on `worker_process`; as text, when that is run."""
    named = ", ".join(f"{quoted(schema)}.{table}" for table in tables)
    if context.is_offline_mode():
        literal = "'" + schema.replace("'", "''") + "'"
        op.execute(_GRANT.format(rights=_RIGHTS.format(schema=literal), named=named))
        return
    rights = sa.text(_RIGHTS.format(schema=":schema"))
    for row in op.get_bind().execute(rights, {"schema": schema}).all():
        grantee = row.grantee.replace(":", "\\:")
        op.execute(f"GRANT {row.privileges} ON {named} TO {grantee}{row.further}")
