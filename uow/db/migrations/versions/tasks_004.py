"""What a task has met again and again, the pulse, and bounds for what a row may say.

The bounds hold for every row that is written from now on. Those that are there are mended by the
next revision and checked by the one after it, so that nobody waits for that.

Revision ID: tasks_004
"""

import sqlalchemy as sa
from alembic import context, op

from uow.db.fragments import quoted

revision = "tasks_004"
down_revision = "tasks_003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)

CONTROL = r"[\x01-\x1f\x7f-\x9f]"
BOUNDS = {
    # Also what Python can read, and Redis keep as a score.
    "run_at": "run_at >= '1970-01-01 00:00:00+00' AND run_at < '9999-12-31 00:00:00+00'",
    "priority": "priority >= 0 AND priority <= 9",
    "name": "char_length(name) >= 1 AND char_length(name) <= 512 "
    f"AND (name COLLATE \"C\") !~ '{CONTROL}'",
    "queue": "char_length(queue) >= 1 AND char_length(queue) <= 512 "
    f"AND (queue COLLATE \"C\") !~ '{CONTROL}'",
}


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.add_column("task", sa.Column("setback", sa.Text()), schema=schema)
    op.add_column(
        "task",
        sa.Column("setbacks", sa.Integer(), nullable=False, server_default=sa.text("0")),
        schema=schema,
    )
    op.add_column("task", sa.Column("unknown_since", MOMENT), schema=schema)
    op.add_column("worker_leader", sa.Column("pulse", sa.Text()), schema=schema)
    added = ", ".join(
        f"ADD CONSTRAINT ck_task_{name} CHECK ({bound}) NOT VALID" for name, bound in BOUNDS.items()
    )
    op.execute(f"ALTER TABLE {quoted(schema)}.task {added}")


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    dropped = ", ".join(f"DROP CONSTRAINT ck_task_{name}" for name in BOUNDS)
    op.execute(f"ALTER TABLE {quoted(schema)}.task {dropped}")
    op.drop_column("worker_leader", "pulse", schema=schema)
    for column in ("unknown_since", "setbacks", "setback"):
        op.drop_column("task", column, schema=schema)
