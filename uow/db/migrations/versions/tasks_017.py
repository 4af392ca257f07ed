"""What was answered to acts that came with an idempotency key.

Revision ID: tasks_017
"""

import sqlalchemy as sa
from alembic import context, op

from uow.db.migrations.grants import let_workers_use

revision = "tasks_017"
down_revision = "tasks_016"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.create_table(
        "act_answer",
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text()),
        sa.Column("at", MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("who", "key", name="pk_act_answer"),
        schema=schema,
    )
    op.create_index("ix_act_answer_at", "act_answer", ["at"], schema=schema)
    let_workers_use(schema, "act_answer")


def downgrade() -> None:
    op.drop_table("act_answer", schema=context.config.attributes["schema"])
