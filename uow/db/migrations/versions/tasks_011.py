"""Who we are, for what lies in Redis; and where the tasks of a service's schedules go.

Revision ID: tasks_011
"""

import sqlalchemy as sa
from alembic import context, op

from uow.db.fragments import quoted
from uow.db.migrations.grants import let_workers_use

revision = "tasks_011"
down_revision = "tasks_010"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
MOMENT = sa.DateTime(timezone=True)


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
    let_workers_use(schema, "worker_identity", "worker_app")


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    op.drop_table("worker_app", schema=schema)
    op.drop_table("worker_identity", schema=schema)
