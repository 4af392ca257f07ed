"""Headers, which travel with a task: text by text, at most 4 KiB.

What they may be is in the type of the column (a domain, as tasks_007 has them). No row is rewritten
or read: the domain allows everything while the column is added.

Revision ID: tasks_012
"""

from alembic import context, op

from uow.db.fragments import quoted

revision = "tasks_012"
down_revision = "tasks_011"
branch_labels = None
depends_on = None

BOUND = (
    "json_typeof(VALUE) = 'object' AND octet_length(CAST(VALUE AS text)) <= 4096 "
    """AND NOT CAST(VALUE AS jsonb) @? '$.* ? (@.type() != "string")'"""
)


def upgrade() -> None:
    schema = quoted(context.config.attributes["schema"])
    op.execute(f"CREATE DOMAIN {schema}.task_headers AS json")
    op.execute(f"ALTER TABLE {schema}.task ADD COLUMN headers {schema}.task_headers")
    op.execute(
        f"ALTER DOMAIN {schema}.task_headers ADD CONSTRAINT ck_task_headers "
        f"CHECK ({BOUND}) NOT VALID"
    )


def downgrade() -> None:
    schema = quoted(context.config.attributes["schema"])
    op.execute(f"ALTER TABLE {schema}.task DROP COLUMN headers")
    op.execute(f"DROP DOMAIN {schema}.task_headers")
