"""Tests of your own, of code that enqueues and of task functions. See docs/testing.md.

No fakes and no eager mode: a task that a test runs goes the product's own way, from the check of
its arguments to the guard of its completion. There are three levels.

1. `perform(f, **arguments)`: no server at all, for functions that need none.
2. The fixture ``tasks``, or `tasks(session)`: your own database, everything in the test's own
   transaction, which is rolled back.
3. The fixtures ``embedded_tasks`` and ``embedded_tasks_sync``: throwaway servers, real commits.

The pytest plugin (`uow.testing.plugin`) has the fixtures, and imports nothing else before one is
asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uow.testing.embedded import EmbeddedTasks, EmbeddedTasksSync
    from uow.testing.errors import Crashed, NotAvailable, NotRolledBack, TransactionLost
    from uow.testing.kit import Tasks, tasks
    from uow.testing.pure import perform
    from uow.testing.rows import EnqueuedTask
    from uow.testing.runner import Ran
    from uow.testing.troubles import Trouble

__all__ = [
    "Crashed",
    "EmbeddedTasks",
    "EmbeddedTasksSync",
    "EnqueuedTask",
    "NotAvailable",
    "NotRolledBack",
    "Ran",
    "Tasks",
    "TransactionLost",
    "Trouble",
    "perform",
    "tasks",
]

_PLACES = {
    "Crashed": "errors.Crashed",
    "EmbeddedTasks": "embedded.EmbeddedTasks",
    "EmbeddedTasksSync": "embedded.EmbeddedTasksSync",
    "EnqueuedTask": "rows.EnqueuedTask",
    "NotAvailable": "errors.NotAvailable",
    "NotRolledBack": "errors.NotRolledBack",
    "Ran": "runner.Ran",
    "Tasks": "kit.Tasks",
    "TransactionLost": "errors.TransactionLost",
    "Trouble": "troubles.Trouble",
    "perform": "pure.perform",
    "tasks": "kit.tasks",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, there = _PLACES[name].partition(".")
    found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), there)
    return found
