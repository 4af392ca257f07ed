"""The users of the built-in user tasks.

Revision ID: users_001
"""

import sqlalchemy as sa
from alembic import context, op

revision = "users_001"
down_revision = None
branch_labels = ("users",)
depends_on = None


def upgrade() -> None:
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
        schema=context.config.attributes["schema"],
    )


def downgrade() -> None:
    op.drop_table("users", schema=context.config.attributes["schema"])
