"""Schedules, their versions and their ticks.

Revision ID: tasks_003
"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import JSONB

revision = "tasks_003"
down_revision = "tasks_002"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.add_column(
        "worker_process",
        sa.Column("app", sa.Text(), nullable=False, server_default=sa.text("'worker'::text")),
        schema=schema,
    )
    op.add_column("task", sa.Column("tick", MOMENT), schema=schema)
    op.create_table(
        "schedule",
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("definition", JSONB(), nullable=False),
        sa.Column("next_tick", MOMENT),
        sa.Column("last_tick", MOMENT),
        sa.Column("last_task_id", sa.Uuid()),
        sa.Column("created_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("seen_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("paused_at", MOMENT),
        sa.Column("removed_at", MOMENT),
        sa.PrimaryKeyConstraint("app", "name", name="pk_schedule"),
        schema=schema,
    )
    op.create_index(
        "ix_schedule_next_tick",
        "schedule",
        ["next_tick"],
        schema=schema,
        postgresql_where=sa.text("paused_at IS NULL AND removed_at IS NULL"),
    )
    op.create_index("ix_schedule_last_task_id", "schedule", ["last_task_id"], schema=schema)
    op.create_table(
        "schedule_version",
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("definition", JSONB(), nullable=False),
        sa.Column("deployed_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("app", "name", "version", name="pk_schedule_version"),
        schema=schema,
    )
    op.create_table(
        "schedule_tick",
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tick", MOMENT, nullable=False),
        sa.Column("fate", sa.Text(), nullable=False),
        sa.Column("until", MOMENT),
        sa.Column("task_id", sa.Uuid()),
        sa.Column("noted_at", MOMENT, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("app", "name", "tick", name="pk_schedule_tick"),
        sa.CheckConstraint(
            "fate IN ('fired', 'asked', 'waiting', 'overlapped', 'missed')", name="fate"
        ),
        schema=schema,
    )
    op.create_index(
        "ix_schedule_tick_waiting",
        "schedule_tick",
        ["tick"],
        schema=schema,
        postgresql_where=sa.text("fate = 'waiting'"),
    )
    op.create_index("ix_schedule_tick_noted_at", "schedule_tick", ["noted_at"], schema=schema)


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    for table in ("schedule_tick", "schedule_version", "schedule"):
        op.drop_table(table, schema=schema)
    op.drop_column("task", "tick", schema=schema)
    op.drop_column("worker_process", "app", schema=schema)
