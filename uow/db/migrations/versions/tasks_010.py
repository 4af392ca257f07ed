"""Indexes for lists of tasks and of errors, made while everybody goes on.

None has `state` or `worker` in it, which change at each start: that would end the heap-only
updates. A list of a user's tasks comes out of its index in the order of ids, newest first.

Revision ID: tasks_010
"""

from uow.db.migrations.indexes import create, drop

revision = "tasks_010"
down_revision = "tasks_009"
branch_labels = None
depends_on = None

concurrent = True
"""Each statement for itself: an index that is made CONCURRENTLY is made outside a transaction."""


def upgrade() -> None:
    create("ix_task_ended", "task (ended, id) WHERE ended IS NOT NULL")
    create("ix_task_user", "task (user_id, id) WHERE user_id IS NOT NULL")
    create("ix_task_error_error_type", "task_error (error_type, id)")
    create("ix_task_error_failed_at", "task_error (failed_at)")
    drop("ix_task_user_id")


def downgrade() -> None:
    create("ix_task_user_id", "task (user_id) WHERE user_id IS NOT NULL")
    for name in ("ix_task_error_failed_at", "ix_task_error_error_type", "ix_task_user",
                 "ix_task_ended"):  # fmt: skip
        drop(name)
