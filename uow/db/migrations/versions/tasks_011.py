"""Who we are, for what lies in Redis; and where the tasks of a service's schedules go.

Revision ID: tasks_011
"""

import sqlalchemy as sa
from alembic import context, op

from uow.db.fragments import quoted

revision = "tasks_011"
down_revision = "tasks_010"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
MOMENT = sa.DateTime(timezone=True)

RIGHTS = sa.text(
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
"""Who may do what with a table that each worker needs, but whom the new tables belong to."""


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.create_table(
        "worker_identity",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_worker_identity"),
        schema=schema,
    )
    op.execute(f"INSERT INTO {quoted(schema)}.worker_identity DEFAULT VALUES")
    op.create_table(
        "worker_app",
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("app", name="pk_worker_app"),
        schema=schema,
    )
    _let_workers_use(schema, "worker_identity", "worker_app")


def _let_workers_use(schema: str, *tables: str) -> None:
    """Grant what is granted on `worker_process`: default privileges need not be of this schema."""
    named = ", ".join(f"{quoted(schema)}.{table}" for table in tables)
    for row in op.get_bind().execute(RIGHTS, {"schema": schema}).all():
        grantee = row.grantee.replace(":", "\\:")
        op.execute(f"GRANT {row.privileges} ON {named} TO {grantee}{row.further}")


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    op.drop_table("worker_app", schema=schema)
    op.drop_table("worker_identity", schema=schema)
