"""A background worker in which every task is a unit of work.

A task's database changes, its result and the record that it ran commit together, once, or not at
all. Redis makes tasks start in milliseconds; Postgres remembers them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from uow.errors import (
    AmbiguousClient,
    AttemptOver,
    AttemptSuperseded,
    ClientClosed,
    EnqueueError,
    Exhausted,
    InvalidArguments,
    InvalidFilter,
    InvalidOptions,
    InvalidResult,
    InvalidSchedule,
    LifespanFailed,
    ParametersDiffer,
    PayloadTooLarge,
    ProcessDied,
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
    WorkerDied,
    WorkerError,
)

if TYPE_CHECKING:
    from uow.api.deps import SessionDep
    from uow.application import App
    from uow.client import TaskClient
    from uow.db.autogenerate import include_object
    from uow.db.database import Database
    from uow.db.models import TaskState
    from uow.inside import running
    from uow.metrics.asgi import metrics_app
    from uow.schedules.by_hand import ScheduleView, TickView
    from uow.schedules.cron import DeclaredSchedule, cron, schedule
    from uow.services.pruning import prune
    from uow.settings.environment import Settings, load_settings
    from uow.settings.types import SettingValues
    from uow.tasks.context import (
        CallNext,
        CpuContext,
        ProcessContext,
        SyncTaskContext,
        TaskContext,
    )
    from uow.tasks.definition import task
    from uow.tasks.extensions import lifespan, middleware, on
    from uow.tasks.function import TaskFunction
    from uow.tasks.handle import TaskHandle, TaskView
    from uow.tasks.headers import Enqueuing
    from uow.tasks.hooks import on_enqueue
    from uow.tasks.outcome import Cancel, Retry, Snooze
    from uow.tasks.private import Private
    from uow.tasks.reference import TaskRef
    from uow.tasks.registry import Registry
    from uow.tasks.retry import Backoff

__all__ = [
    "AmbiguousClient",
    "App",
    "AttemptOver",
    "AttemptSuperseded",
    "Backoff",
    "CallNext",
    "Cancel",
    "ClientClosed",
    "CpuContext",
    "Database",
    "DeclaredSchedule",
    "EnqueueError",
    "Enqueuing",
    "Exhausted",
    "InvalidArguments",
    "InvalidFilter",
    "InvalidOptions",
    "InvalidResult",
    "InvalidSchedule",
    "LifespanFailed",
    "ParametersDiffer",
    "PayloadTooLarge",
    "Private",
    "ProcessContext",
    "ProcessDied",
    "Registry",
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
    "SettingValues",
    "Settings",
    "SettingsError",
    "Snooze",
    "SyncTaskContext",
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
    "WorkerDied",
    "WorkerError",
    "cron",
    "include_object",
    "lifespan",
    "load_settings",
    "metrics_app",
    "middleware",
    "on",
    "on_enqueue",
    "prune",
    "running",
    "schedule",
    "task",
]

_PLACES = {
    "App": "application",
    "Backoff": "tasks.retry",
    "CallNext": "tasks.context",
    "Cancel": "tasks.outcome",
    "CpuContext": "tasks.context",
    "Database": "db.database",
    "DeclaredSchedule": "schedules.cron",
    "Enqueuing": "tasks.headers",
    "Private": "tasks.private",
    "ProcessContext": "tasks.context",
    "Registry": "tasks.registry",
    "Retry": "tasks.outcome",
    "ScheduleView": "schedules.by_hand",
    "SessionDep": "api.deps",
    "SettingValues": "settings.types",
    "Settings": "settings.environment",
    "Snooze": "tasks.outcome",
    "SyncTaskContext": "tasks.context",
    "TaskClient": "client",
    "TaskContext": "tasks.context",
    "TaskFunction": "tasks.function",
    "TaskHandle": "tasks.handle",
    "TaskRef": "tasks.reference",
    "TaskState": "db.models",
    "TaskView": "tasks.handle",
    "TickView": "schedules.by_hand",
    "cron": "schedules.cron",
    "include_object": "db.autogenerate",
    "lifespan": "tasks.extensions",
    "load_settings": "settings.environment",
    "metrics_app": "metrics.asgi",
    "middleware": "tasks.extensions",
    "on": "tasks.extensions",
    "on_enqueue": "tasks.hooks",
    "prune": "services.pruning",
    "running": "inside",
    "schedule": "schedules.cron",
    "task": "tasks.definition",
}
"""Imported when they are asked for: the commands start without an ORM."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f"uow.{_PLACES[name]}"), name)
    except ModuleNotFoundError as error:
        if name != "SessionDep":  # which needs FastAPI, as only a web service has it
            raise
        raise ImportError(
            f"uow.SessionDep needs {error.name}: pip install 'uow-worker[api]'"
        ) from error
    globals()[name] = found
    return found
