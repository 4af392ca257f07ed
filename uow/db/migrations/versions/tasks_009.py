"""Arguments, results and progress keep the order of their dicts: jsonb becomes json. And `ended`.

The one step that writes the table anew, all of it in one ALTER; so no worker may live meanwhile.
`ended` says how a task ended that did not succeed, in a column of its own, for an index on `state`
would make every start write into all indexes.

What an argument may be is in the type of its column, as with those of tasks_007. A CHECK of the
table is gone with that. json itself would take a NUL or half a surrogate pair, which no statement
could read; whatever has an escape in it is read as jsonb once, when it is inserted.

Revision ID: tasks_009
"""

from alembic import context, op

from uow.db.fragments import quoted
from uow.db.migrations import dependents, rewriting

revision = "tasks_009"
down_revision = "tasks_008"
branch_labels = None
depends_on = None

COLUMNS = ("args", "progress", "result")
ARGS = r"""
json_typeof(VALUE) = 'object' AND
CASE WHEN strpos(CAST(VALUE AS text), '\u') > 0 THEN CAST(VALUE AS jsonb) IS NOT NULL ELSE true END
"""
ENDED = "VALUE IN ('failed', 'cancelled')"


def upgrade() -> None:
    _prepare()
    schema = quoted(context.config.attributes["schema"])
    op.execute(f"CREATE DOMAIN {schema}.task_args AS json CONSTRAINT ck_task_args CHECK ({ARGS})")
    op.execute(
        f"CREATE DOMAIN {schema}.task_ended AS text CONSTRAINT ck_task_ended CHECK ({ENDED})"
    )
    op.execute(f"ALTER TABLE {schema}.task ADD COLUMN ended text")
    op.execute(f"""
        ALTER TABLE {schema}.task
            DROP CONSTRAINT ck_task_args,
            ALTER args DROP DEFAULT,
            ALTER args TYPE {schema}.task_args USING CAST(args AS json),
            ALTER args SET DEFAULT CAST('{{}}' AS json),
            ALTER progress TYPE json USING CAST(progress AS json),
            ALTER result TYPE json USING CAST(result AS json),
            ALTER ended TYPE {schema}.task_ended
                USING CASE WHEN state IN ('failed', 'cancelled') THEN state END
    """)


def downgrade() -> None:
    _prepare()
    schema = quoted(context.config.attributes["schema"])
    op.execute(f"""
        ALTER TABLE {schema}.task
            DROP COLUMN ended,
            ALTER args DROP DEFAULT,
            ALTER args TYPE jsonb USING CAST(args AS jsonb),
            ALTER args SET DEFAULT CAST('{{}}' AS jsonb),
            ALTER progress TYPE jsonb USING CAST(progress AS jsonb),
            ALTER result TYPE jsonb USING CAST(result AS jsonb),
            ADD CONSTRAINT ck_task_args CHECK (jsonb_typeof(args) = 'object')
    """)
    for column in ("args", "ended"):
        op.execute(f"DROP DOMAIN {schema}.task_{column}")


def _prepare() -> None:
    attributes = context.config.attributes
    connection, schema = op.get_bind(), attributes["schema"]
    dependents.refuse_views(connection, schema, COLUMNS)
    dependents.refuse_indexes(connection, schema, COLUMNS)
    rewriting.refuse_unless_due(connection, schema, asked_for=attributes["rewrite"])
