"""What `ctx["db"]` is for an attempt of a task function: one transaction, or one per block."""

from typing import Any

from uow.attempt.separate_blocks import SeparateBlocks
from uow.attempt.unit_of_work import UnitOfWork
from uow.db.begun_attempt import AttemptDatabase
from uow.tasks.context import RunningTask
from uow.tasks.function import TaskFunction

Work = UnitOfWork | SeparateBlocks


def work_of(
    db: AttemptDatabase, function: TaskFunction[Any, Any] | None, task: RunningTask
) -> Work:
    """What the sessions of one attempt of `function`, at `task`, work on; of none, nothing does."""
    if function is None:
        return UnitOfWork(db)
    if function.atomic:
        return UnitOfWork(db, function.timeout, task.after_commit)
    return SeparateBlocks(db, task.id, task.attempt, function.timeout, task.after_commit)
