"""The tasks and the errors of their attempts.

Revision ID: tasks_001
"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import JSONB

from uow.db.fragments import quoted

revision = "tasks_001"
down_revision = None
branch_labels = ("tasks",)
depends_on = None

# Wakes the relay for rows that no pusher has announced. The condition is in the trigger and not in
# its function: NOTIFY serialises commits, and an announced row must not pay for it.
NOTIFY = """
CREATE FUNCTION {schema}.worker_task_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '.task', '');
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER worker_task_notify AFTER INSERT ON {schema}.task FOR EACH ROW
WHEN (NEW.dispatch_at <= now()) EXECUTE FUNCTION {schema}.worker_task_notify()
"""


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.create_table(
        "task",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=sa.text("gen_random_uuid()")),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("args", JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'queued'::text")),
        sa.Column("queue", sa.Text(), nullable=False, server_default=sa.text("'arq:queue'::text")),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("user_id", sa.Text()),
        sa.Column("unique_key", sa.Text()),
        sa.Column("job_id", sa.Text()),
        _moment("run_at", default=True),
        _moment("dispatch_at", default=True),
        sa.Column("attempt", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("worker", sa.Text()),
        sa.Column("progress", JSONB()),
        sa.Column("result", JSONB()),
        _moment("created_at", default=True),
        _moment("started_at"),
        _moment("settled_at"),
        sa.PrimaryKeyConstraint("id", name="pk_task"),
        sa.CheckConstraint(
            "state IN ('scheduled', 'queued', 'running', 'retrying', "
            "'succeeded', 'failed', 'cancelled')",
            name="state",
        ),
        sa.CheckConstraint(
            "(settled_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))",
            name="settled",
        ),
        sa.CheckConstraint("jsonb_typeof(args) = 'object'", name="args"),
        schema=schema,
    )
    # A task is updated two or three times in its life: room for that in its own page.
    op.execute(f"ALTER TABLE {quoted(schema)}.task SET (fillfactor = 70)")
    op.create_index(
        "ix_task_dispatch_at",
        "task",
        ["dispatch_at"],
        schema=schema,
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index(
        "uq_task_unique_key",
        "task",
        ["unique_key"],
        unique=True,
        schema=schema,
        postgresql_where=sa.text("settled_at IS NULL AND unique_key IS NOT NULL"),
    )
    op.create_index(
        "ix_task_user_id",
        "task",
        ["user_id"],
        schema=schema,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_table(
        "task_error",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("traceback", sa.Text(), nullable=False, server_default=sa.text("''::text")),
        sa.Column("worker", sa.Text()),
        _moment("started_at"),
        _moment("failed_at", default=True),
        sa.PrimaryKeyConstraint("id", name="pk_task_error"),
        sa.ForeignKeyConstraint(
            ["task_id"],
            [f"{schema}.task.id"],
            name="fk_task_error_task_id",
            ondelete="CASCADE",
        ),
        schema=schema,
    )
    op.create_index("ix_task_error_task_id", "task_error", ["task_id"], schema=schema)
    op.execute(NOTIFY.format(schema=quoted(schema)))
    op.execute(TRIGGER.format(schema=quoted(schema)))


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    op.drop_table("task_error", schema=schema)
    op.drop_table("task", schema=schema)
    op.execute(f"DROP FUNCTION {quoted(schema)}.worker_task_notify()")


def _moment(name: str, *, default: bool = False) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=not default,
        server_default=sa.text("now()") if default else None,
    )
