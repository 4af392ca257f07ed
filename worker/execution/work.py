"""What `ctx["db"]` is for an attempt of a task function: one transaction, or one per block."""

from typing import Any

from worker.db.database import Database
from worker.execution.context import RunningTask
from worker.execution.definition import TaskFunction
from worker.execution.separate_blocks import SeparateBlocks
from worker.execution.unit_of_work import UnitOfWork

Work = UnitOfWork | SeparateBlocks


def work_of(db: Database, function: TaskFunction[Any, Any], task: RunningTask) -> Work:
    """What the sessions of one attempt of `function`, at `task`, work on."""
    if function.atomic:
        return UnitOfWork(db, function.timeout, task.after_commit)
    return SeparateBlocks(db, task.id, task.attempt, function.timeout, task.after_commit)
