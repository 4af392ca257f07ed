"""What was done by whom, and bulk acts, which the leader runs.

Revision ID: tasks_014
"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from uow.db.migrations.grants import let_workers_use

revision = "tasks_014"
down_revision = "tasks_013"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
NONE = sa.text("0")
NOTHING = sa.text("'{}'::jsonb")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    _make_audit(schema)
    _make_arguments(schema)
    _make_bulk_act(schema)
    let_workers_use(schema, "audit", "audit_arguments", "bulk_act")


def _make_audit(schema: str) -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("face", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Uuid()),
        sa.Column("bulk_id", sa.Uuid()),
        sa.Column("filter", JSONB()),
        sa.Column("counts", JSONB()),
        sa.Column("options", JSONB()),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        schema=schema,
    )
    op.create_index("ix_audit_at", "audit", ["at"], schema=schema)
    op.create_index(
        "ix_audit_task",
        "audit",
        ["task_id", "id"],
        schema=schema,
        postgresql_where=sa.text("task_id IS NOT NULL"),
    )


def _make_arguments(schema: str) -> None:
    op.create_table(
        "audit_arguments",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("audit_id", sa.BigInteger(), nullable=False),
        sa.Column("args", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "audit_id", name="pk_audit_arguments"),
        sa.ForeignKeyConstraint(
            ["task_id"],
            [f"{schema}.task.id"],
            ondelete="CASCADE",
            name="fk_audit_arguments_task_id",
        ),
        sa.ForeignKeyConstraint(
            ["audit_id"],
            [f"{schema}.audit.id"],
            ondelete="CASCADE",
            name="fk_audit_arguments_audit_id",
        ),
        schema=schema,
    )
    op.create_index("ix_audit_arguments_audit_id", "audit_arguments", ["audit_id"], schema=schema)


def _make_bulk_act(schema: str) -> None:
    op.create_table(
        "bulk_act",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("options", JSONB(), nullable=False, server_default=NOTHING),
        sa.Column("filter", JSONB(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("face", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("previewed_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("upper_id", sa.Uuid()),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("is_exact", sa.Boolean(), nullable=False),
        sa.Column("samples", ARRAY(sa.Uuid()), nullable=False),
        sa.Column("key", sa.Text()),
        sa.Column("confirmed_at", MOMENT),
        sa.Column("audit_id", sa.BigInteger()),
        sa.Column("leg", sa.Integer(), nullable=False, server_default=NONE),
        sa.Column("position", sa.Uuid()),
        sa.Column("batch", sa.Integer(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False, server_default=NONE),
        sa.Column("done", sa.BigInteger(), nullable=False, server_default=NONE),
        sa.Column("left_alone", JSONB(), nullable=False, server_default=NOTHING),
        sa.Column("stopped_by", sa.Text()),
        sa.Column("ended_at", MOMENT),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_bulk_act"),
        sa.UniqueConstraint("key", name="uq_bulk_act_key"),
        sa.CheckConstraint(
            "ended_at IS NULL OR confirmed_at IS NOT NULL", name=op.f("ck_bulk_act_ended")
        ),
        schema=schema,
    )
    op.create_index(
        "ix_bulk_act_confirmed_at",
        "bulk_act",
        ["confirmed_at"],
        schema=schema,
        postgresql_where=sa.text("confirmed_at IS NOT NULL AND ended_at IS NULL"),
    )


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    for table in ("bulk_act", "audit_arguments", "audit"):
        op.drop_table(table, schema=schema)
