"""What `ctx["db"]` is for an attempt of a task function: one transaction, or one per block."""

from typing import Any
from uuid import UUID

from worker.db.database import Database
from worker.execution.definition import TaskFunction
from worker.execution.separate_blocks import SeparateBlocks
from worker.execution.unit_of_work import UnitOfWork

Work = UnitOfWork | SeparateBlocks


def work_of(
    db: Database, function: TaskFunction[Any, Any], task_id: UUID | None, attempt: int
) -> Work:
    """What the sessions of one attempt of `function` work on.

    Args:
        task_id: Its row; None: it has none.
        attempt: The number that must be current when a block of its own commits.
    """
    if function.atomic:
        return UnitOfWork(db, function.timeout)
    return SeparateBlocks(db, task_id, attempt, function.timeout)
