"""What each worker process is and how it is; and which task functions its code has.

The columns have no default: what a worker of an older version leaves out is not known of it. None
is in an index, so that a heartbeat stays a heap-only update.

Revision ID: tasks_013
"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import ARRAY

from uow.db.fragments import quoted
from uow.db.migrations.grants import let_workers_use

revision = "tasks_013"
down_revision = "tasks_012"
branch_labels = None
depends_on = None

COLUMNS = {
    "host": "text",
    "pid": "integer",
    "version": "text",
    "slots": "integer",
    "code": "text",
    "lease_seconds": "double precision",
    "unknown_task_grace": "double precision",
    "busy": "integer",
    "lag": "double precision",
    "pool_busy": "integer",
    "pool_idle": "integer",
    "pool_room": "integer",
}


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    added = ", ".join(f"ADD COLUMN {name} {kind}" for name, kind in COLUMNS.items())
    op.execute(f"ALTER TABLE {quoted(schema)}.worker_process {added}")
    op.create_table(
        "worker_code",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("names", ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "seen_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")
        ),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_worker_code"),
        schema=schema,
    )
    let_workers_use(schema, "worker_code")


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    op.drop_table("worker_code", schema=schema)
    dropped = ", ".join(f"DROP COLUMN {name}" for name in COLUMNS)
    op.execute(f"ALTER TABLE {quoted(schema)}.worker_process {dropped}")
