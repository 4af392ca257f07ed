"""The users; a table that an older version of the library has made in its schema is taken over.

Revision ID: users_001
"""

import sqlalchemy as sa
from alembic import context, op

from uow import SchemaError

revision = "users_001"
down_revision = None
branch_labels = None
depends_on = None

COLUMNS = {
    "id", "username", "email", "is_active", "created_at", "last_seen_at", "welcomed_at",
}  # fmt: skip


def upgrade() -> None:
    here = op.get_bind().scalar(sa.text("SELECT current_schema()"))
    there = context.config.attributes["schema"]
    if sa.inspect(op.get_bind()).has_table("users", schema=here):
        refuse_foreign(here, there)
    elif is_users_table(there):
        quote = op.get_bind().dialect.identifier_preparer.quote
        op.execute(f"ALTER TABLE {quote(there)}.users SET SCHEMA {quote(here)}")
    else:
        create()


def refuse_foreign(here: str, there: str) -> None:
    """Raise unless an older version of the library has made the table that is `here`."""
    made = f'an older version has made the table users in schema "{here}"'
    if is_users_table(here) and comment_of_versions(there) == made:
        return
    raise SchemaError(
        f'schema "{here}" has a table users that is not the application\'s; nothing was changed in '
        "it. Give the application a schema of its own, in every process: CREATE SCHEMA app, and "
        "?options=-csearch_path%3Dapp at the end of WORKER_DATABASE_URL"
    )


def comment_of_versions(schema: str) -> str | None:
    """What the library's version table says of a table `users`."""
    statement = sa.text("SELECT obj_description(to_regclass(:name), 'pg_class')")
    quote = op.get_bind().dialect.identifier_preparer.quote
    name = f"{quote(schema)}.worker_alembic_version"
    found: str | None = op.get_bind().scalar(statement, {"name": name})
    return found


def is_users_table(schema: str) -> bool:
    """Whether `schema` has a table `users` with our columns, and perhaps with more."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table("users", schema=schema):
        return False
    return {column["name"] for column in inspector.get_columns("users", schema)} >= COLUMNS


def create() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.Column("created_at", moment, nullable=False, server_default=sa.text("now()")),
        sa.Column("last_seen_at", moment),
        sa.Column("welcomed_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("username", name="uq_users_username"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )


def downgrade() -> None:
    op.drop_table("users")
