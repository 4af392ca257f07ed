"""Moves the bounds of tasks_004 from the table to the types of its columns.

Postgres reads every CHECK of a table anew for each statement that writes a row, 6 µs each, though a
start and a completion change none of these columns. What a domain allows is looked at when a column
of it is written, and at no other time.

No row is rewritten or read: a domain that allows everything takes the place of its type at once,
and what it is to allow is what the CHECKs have seen to until then.

Revision ID: tasks_007
"""

from alembic import context, op

from uow.db.fragments import quoted
from uow.db.migrations import dependents

revision = "tasks_007"
down_revision = "tasks_006"
branch_labels = None
depends_on = None

NAME = (
    r"char_length(VALUE) >= 1 AND char_length(VALUE) <= 512 "
    r"""AND (VALUE COLLATE "C") !~ '[\x01-\x1f\x7f-\x9f]'"""
)
DOMAINS = {
    "name": ("text", NAME),
    "queue": ("text", NAME),
    "priority": ("integer", "VALUE >= 0 AND VALUE <= 9"),
    "run_at": (
        "timestamptz",
        "VALUE >= '1970-01-01 00:00:00+00' AND VALUE < '9999-12-31 00:00:00+00'",
    ),
}
"""By column: what it was, and what it may say."""


def upgrade() -> None:
    schema = quoted(context.config.attributes["schema"])
    dependents.refuse_views(op.get_bind(), context.config.attributes["schema"], list(DOMAINS))
    for column, (type_, _) in DOMAINS.items():
        op.execute(f"CREATE DOMAIN {schema}.task_{column} AS {type_}")
    dropped = [f"DROP CONSTRAINT ck_task_{column}" for column in DOMAINS]
    typed = [f"ALTER {column} TYPE {schema}.task_{column}" for column in DOMAINS]
    op.execute(f"ALTER TABLE {schema}.task {', '.join(dropped)}")
    op.execute(f"ALTER TABLE {schema}.task {', '.join(typed)}")
    for column, (_, bound) in DOMAINS.items():
        op.execute(
            f"ALTER DOMAIN {schema}.task_{column} ADD CONSTRAINT ck_task_{column} "
            f"CHECK ({bound}) NOT VALID"
        )


def downgrade() -> None:
    schema = quoted(context.config.attributes["schema"])
    dependents.refuse_views(op.get_bind(), context.config.attributes["schema"], list(DOMAINS))
    typed = [f"ALTER {column} TYPE {type_}" for column, (type_, _) in DOMAINS.items()]
    op.execute(f"ALTER TABLE {schema}.task {', '.join(typed)}")
    for column, (_, bound) in DOMAINS.items():
        op.execute(f"DROP DOMAIN {schema}.task_{column}")
        check = bound.replace("VALUE", column)
        op.execute(f"ALTER TABLE {schema}.task ADD CONSTRAINT ck_task_{column} CHECK ({check})")
