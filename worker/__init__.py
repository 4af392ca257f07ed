"""A background worker in which every task is a unit of work.

A task's database changes, its result and the record that it ran commit together, once, or not at
all. Redis makes tasks start in milliseconds; Postgres remembers them.
"""

from typing import TYPE_CHECKING, Any

from worker.db.database import Database
from worker.db.models import TaskState
from worker.errors import (
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TransactionAborted,
    UnitOfWorkLost,
    WorkerError,
)
from worker.execution.client import TaskClient
from worker.execution.context import TaskContext
from worker.execution.cron import cron
from worker.execution.definition import TaskFunction, task
from worker.execution.handle import TaskHandle
from worker.execution.outcome import Cancel, Retry, Snooze
from worker.execution.reference import TaskRef
from worker.execution.retry import Backoff
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.api.deps import SessionDep

__all__ = [
    "Backoff",
    "Cancel",
    "Database",
    "Retry",
    "SessionDep",
    "Settings",
    "Snooze",
    "TaskCancelled",
    "TaskClient",
    "TaskContext",
    "TaskFailed",
    "TaskFunction",
    "TaskHandle",
    "TaskNotFound",
    "TaskRef",
    "TaskState",
    "TransactionAborted",
    "UnitOfWorkLost",
    "WorkerError",
    "cron",
    "task",
]


def __getattr__(name: str) -> Any:
    if name == "SessionDep":  # needs FastAPI, which only a web service has
        try:
            from worker.api.deps import SessionDep
        except ModuleNotFoundError as error:
            raise ImportError(
                f"worker.SessionDep needs {error.name}: pip install 'uow-worker[api]'"
            ) from error
        return SessionDep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
