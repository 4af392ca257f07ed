"""A background worker in which every task is a unit of work.

A task's database changes, its result and the record that it ran commit together, once, or not at
all. Redis makes tasks start in milliseconds; Postgres remembers them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from worker.errors import (
    AmbiguousClient,
    AttemptOver,
    AttemptSuperseded,
    ClientClosed,
    EnqueueError,
    InvalidArguments,
    InvalidOptions,
    InvalidResult,
    InvalidSchedule,
    ParametersDiffer,
    PayloadTooLarge,
    ScheduleBusy,
    ScheduleNotFound,
    SchemaError,
    ServerUnreachable,
    SessionAlreadyOpen,
    SessionEnded,
    SessionError,
    SessionLeftOpen,
    SettingsError,
    TaskCancelled,
    TaskError,
    TaskFailed,
    TaskNotFound,
    TaskTimeout,
    TransactionAborted,
    TransactionEnded,
    UndecodablePayload,
    UniqueKeyTaken,
    UnitOfWorkLost,
    UnknownTask,
    WorkerError,
)

if TYPE_CHECKING:
    from worker.api.deps import SessionDep
    from worker.db.autogenerate import include_object
    from worker.db.database import Database
    from worker.db.models import TaskState
    from worker.execution.client import TaskClient
    from worker.execution.context import TaskContext
    from worker.execution.cron import cron
    from worker.execution.definition import TaskFunction, task
    from worker.execution.handle import TaskHandle, TaskView
    from worker.execution.outcome import Cancel, Retry, Snooze
    from worker.execution.reference import TaskRef
    from worker.execution.retry import Backoff
    from worker.execution.schedules import ScheduleView, TickView
    from worker.settings import Settings

__all__ = [
    "AmbiguousClient",
    "AttemptOver",
    "AttemptSuperseded",
    "Backoff",
    "Cancel",
    "ClientClosed",
    "Database",
    "EnqueueError",
    "InvalidArguments",
    "InvalidOptions",
    "InvalidResult",
    "InvalidSchedule",
    "ParametersDiffer",
    "PayloadTooLarge",
    "Retry",
    "ScheduleBusy",
    "ScheduleNotFound",
    "ScheduleView",
    "SchemaError",
    "ServerUnreachable",
    "SessionAlreadyOpen",
    "SessionDep",
    "SessionEnded",
    "SessionError",
    "SessionLeftOpen",
    "Settings",
    "SettingsError",
    "Snooze",
    "TaskCancelled",
    "TaskClient",
    "TaskContext",
    "TaskError",
    "TaskFailed",
    "TaskFunction",
    "TaskHandle",
    "TaskNotFound",
    "TaskRef",
    "TaskState",
    "TaskTimeout",
    "TaskView",
    "TickView",
    "TransactionAborted",
    "TransactionEnded",
    "UndecodablePayload",
    "UniqueKeyTaken",
    "UnitOfWorkLost",
    "UnknownTask",
    "WorkerError",
    "cron",
    "include_object",
    "task",
]

_PLACES = {
    "Backoff": "execution.retry",
    "Cancel": "execution.outcome",
    "Database": "db.database",
    "Retry": "execution.outcome",
    "ScheduleView": "execution.schedules",
    "SessionDep": "api.deps",
    "Settings": "settings",
    "Snooze": "execution.outcome",
    "TaskClient": "execution.client",
    "TaskContext": "execution.context",
    "TaskFunction": "execution.definition",
    "TaskHandle": "execution.handle",
    "TaskRef": "execution.reference",
    "TaskState": "db.models",
    "TaskView": "execution.handle",
    "TickView": "execution.schedules",
    "cron": "execution.cron",
    "include_object": "db.autogenerate",
    "task": "execution.definition",
}
"""Imported when they are asked for: the commands start without an ORM."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f"worker.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        if name != "SessionDep":  # which needs FastAPI, as only a web service has it
            raise
        raise ImportError(
            f"worker.SessionDep needs {error.name}: pip install 'uow-worker[api]'"
        ) from error
    globals()[name] = found
    return found
