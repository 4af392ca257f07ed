"""What a task has met again and again: servers that failed it, workers that do not know its name.

Revision ID: tasks_004
"""

import sqlalchemy as sa
from alembic import context, op

revision = "tasks_004"
down_revision = "tasks_003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.add_column("task", sa.Column("setback", sa.Text()), schema=schema)
    op.add_column(
        "task",
        sa.Column("setbacks", sa.Integer(), nullable=False, server_default=sa.text("0")),
        schema=schema,
    )
    op.add_column("task", sa.Column("unknown_since", MOMENT), schema=schema)


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    for column in ("unknown_since", "setbacks", "setback"):
        op.drop_column("task", column, schema=schema)
