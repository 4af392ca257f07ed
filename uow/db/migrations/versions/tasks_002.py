"""Worker processes and their leader, suspects, retention, keys of waiting tasks.

Revision ID: tasks_002
"""

import sqlalchemy as sa
from alembic import context, op

from uow.db.fragments import quoted

revision = "tasks_002"
down_revision = "tasks_001"
branch_labels = None
depends_on = None

UNSETTLED = sa.text("settled_at IS NULL")
MOMENT = sa.DateTime(timezone=True)

# What was settled before retention existed is kept for the default of the setting from now on.
EXPIRE = """
UPDATE {schema}.task SET expires_at = now() + interval '7 days' WHERE settled_at IS NOT NULL
"""


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.add_column("task", sa.Column("waiting_key", sa.Text()), schema=schema)
    op.add_column(
        "task",
        sa.Column("deaths", sa.Integer(), nullable=False, server_default=sa.text("0")),
        schema=schema,
    )
    op.add_column(
        "task",
        sa.Column("alone", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        schema=schema,
    )
    op.add_column("task", sa.Column("expires_at", MOMENT), schema=schema)
    op.execute(EXPIRE.format(schema=quoted(schema)))
    # Rows that wait for nothing are at infinity; the rescuer reads them in the order of their ids.
    op.create_index(
        "ix_task_dispatch",
        "task",
        ["dispatch_at", "id"],
        schema=schema,
        postgresql_where=UNSETTLED,
    )
    op.drop_index("ix_task_dispatch_at", "task", schema=schema)
    op.create_index(
        "uq_task_waiting_key",
        "task",
        ["waiting_key"],
        unique=True,
        schema=schema,
        postgresql_where=sa.text("settled_at IS NULL AND waiting_key IS NOT NULL"),
    )
    op.create_index(
        "ix_task_expires_at",
        "task",
        ["expires_at"],
        schema=schema,
        postgresql_where=sa.text("settled_at IS NOT NULL"),
    )
    op.create_table(
        "worker_process",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("running", sa.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("leaving", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("started_at", MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.Column("heartbeat_at", MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="pk_worker_process"),
        schema=schema,
    )
    op.create_table(
        "worker_leader",
        sa.Column("duty", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.Column("storm_at", MOMENT),
        sa.PrimaryKeyConstraint("duty", name="pk_worker_leader"),
        schema=schema,
    )
    # One small row per process, updated every few seconds.
    op.execute(f"ALTER TABLE {quoted(schema)}.worker_process SET (fillfactor = 20)")


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    op.drop_table("worker_leader", schema=schema)
    op.drop_table("worker_process", schema=schema)
    op.create_index(
        "ix_task_dispatch_at", "task", ["dispatch_at"], schema=schema, postgresql_where=UNSETTLED
    )
    op.drop_index("ix_task_dispatch", "task", schema=schema)
    for column in ("expires_at", "alone", "deaths", "waiting_key"):
        op.drop_column("task", column, schema=schema)
    # The relay of that time looked again and again; it knows no infinity.
    op.execute(
        f"UPDATE {quoted(schema)}.task SET dispatch_at = now() "  # noqa: S608 - a quoted name
        "WHERE settled_at IS NULL AND dispatch_at = 'infinity'"
    )
