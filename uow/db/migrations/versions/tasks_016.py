"""Pauses of queues, of task functions, of users, and of everything.

What a pause holds back needs no column and no index: such a row waits for a moment far away, its
pause's own (`uow.db.fragments`), in the index that the relay goes by.

Revision ID: tasks_016
"""

import sqlalchemy as sa
from alembic import context, op

from uow.db.fragments import quoted
from uow.db.migrations.grants import let_workers_use

revision = "tasks_016"
down_revision = "tasks_015"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
MOMENT = sa.DateTime(timezone=True)

# Every relay hears of it where it hears of tasks, and looks at once: see `uow.services.relay`.
NOTIFY = """
CREATE FUNCTION {schema}.worker_pause_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(TG_TABLE_SCHEMA || '.task', 'pause');
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER worker_pause_notify AFTER INSERT OR UPDATE ON {schema}.pause
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.worker_pause_notify()
"""


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.create_table(
        "pause",
        sa.Column("number", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("paused_at", MOMENT, nullable=False, server_default=NOW),
        sa.Column("until", MOMENT),
        sa.Column("resumed_at", MOMENT),
        sa.PrimaryKeyConstraint("number", name="pk_pause"),
        sa.CheckConstraint("kind IN ('everything', 'queue', 'name', 'user')", name="kind"),
        schema=schema,
    )
    op.create_index(
        "uq_pause_kind", "pause", ["kind", "target"], unique=True, schema=schema,
        postgresql_where=sa.text("resumed_at IS NULL"),
    )  # fmt: skip
    op.execute(NOTIFY.format(schema=quoted(schema)))
    op.execute(TRIGGER.format(schema=quoted(schema)))
    let_workers_use(schema, "pause")


def downgrade() -> None:
    """What was held back is let go."""
    schema = context.config.attributes["schema"]
    op.execute(
        f"UPDATE {quoted(schema)}.task SET dispatch_at = now() "  # noqa: S608 - a quoted name
        "WHERE settled_at IS NULL AND dispatch_at >= '9000-01-01Z' AND dispatch_at < 'infinity'"
    )
    op.drop_table("pause", schema=schema)
    op.execute(f"DROP FUNCTION {quoted(schema)}.worker_pause_notify()")
