"""What tests read of a task's context."""

from uuid import UUID

from uow import TaskContext


def id_of(ctx: TaskContext) -> UUID:
    """The id of a task that has a row."""
    task_id = ctx["task"].id
    assert task_id is not None
    return task_id
