"""The rollup: how many attempts have ended how, and how long they took.

A row of the present minute, or hour, is added to every ten seconds: there is room in its page, and
what changes is in no index.

Revision ID: tasks_015
"""

import sqlalchemy as sa
from alembic import context, op

from uow.db.fragments import quoted
from uow.db.migrations.grants import let_workers_use

revision = "tasks_015"
down_revision = "tasks_014"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
TABLES = (
    "rollup_inbox", "rollup_source", "rollup", "rollup_hour", "rollup_error", "rollup_error_day",
)  # fmt: skip


def upgrade() -> None:
    schema = context.config.attributes["schema"]
    op.create_table(
        "rollup_inbox",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", MOMENT, nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("process", "number", name="pk_rollup_inbox"),
        schema=schema,
    )
    op.create_table(
        "rollup_source",
        sa.Column("process", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("process", name="pk_rollup_source"),
        schema=schema,
    )
    for table, span in (("rollup", "minute"), ("rollup_hour", "hour")):
        _create_sums(schema, table, span)
    op.create_table(
        "rollup_error",
        sa.Column("hour", MOMENT, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "name", "error_type", name="pk_rollup_error"),
        schema=schema,
    )
    op.create_table(
        "rollup_error_day",
        sa.Column("day", MOMENT, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("latest", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("day", "name", "error_type", name="pk_rollup_error_day"),
        schema=schema,
    )
    for table in TABLES[1:]:
        op.execute(f"ALTER TABLE {quoted(schema)}.{table} SET (fillfactor = 50)")
    let_workers_use(schema, *TABLES)


def _create_sums(schema: str, table: str, span: str) -> None:
    op.create_table(
        table,
        sa.Column(span, MOMENT, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("waited", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column("ran", sa.ARRAY(sa.Integer()), nullable=False),
        sa.PrimaryKeyConstraint(span, "name", "queue", "outcome", name=f"pk_{table}"),
        schema=schema,
    )


def downgrade() -> None:
    schema = context.config.attributes["schema"]
    for table in reversed(TABLES):
        op.drop_table(table, schema=schema)
