"""Checks that every row keeps the bounds of tasks_004; reading and writing go on meanwhile.

Revision ID: tasks_006
"""

from alembic import context, op

from uow.db.fragments import quoted

revision = "tasks_006"
down_revision = "tasks_005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    for name in ("run_at", "priority", "name", "queue"):
        op.execute(f"ALTER TABLE {quoted(schema)}.task VALIDATE CONSTRAINT ck_task_{name}")


def downgrade() -> None:
    """What was checked need not be."""
