"""Which task functions there are. A name from the network resolves here, or nowhere."""

from collections.abc import Iterable, Iterator
from typing import Any

from uow.errors import InvalidOptions, InvalidSchedule, SettingsError
from uow.events.spine import Spine
from uow.spelling import did_you_mean
from uow.tasks.context import Lifespan, Middleware
from uow.tasks.function import Scheduled, TaskFunction
from uow.user_code import imported


class Registry:
    """Task functions by name, and what else users bring.

    Attributes:
        loaded: The process has loaded its task modules, so an unknown name is an error.
        lifespans: What lives as long as a worker process.
        middleware: What is around the function of each attempt, the outermost first.
        events: Whom `@on` has registered.
    """

    def __init__(self) -> None:
        self.loaded = False
        self.lifespans: list[Lifespan] = []
        self.middleware: list[Middleware] = []
        self.events = Spine()
        self._functions: dict[str, TaskFunction[Any, Any]] = {}

    def add(self, function: TaskFunction[Any, Any]) -> None:
        """Register `function`.

        Raises:
            InvalidOptions: Another function has its name.
        """
        there = self._functions.get(function.name)
        if there is not None and _origin(there) != _origin(function):
            raise InvalidOptions(
                f"two task functions are called {function.name}: "
                f"{_origin(there)} and {_origin(function)}{_why_twice(there, function)}"
            )
        self._functions[function.name] = function

    def get(self, name: str) -> TaskFunction[Any, Any] | None:
        """The function of that name, if there is one."""
        return self._functions.get(name)

    def __getitem__(self, name: str) -> TaskFunction[Any, Any]:
        return self._functions[name]

    def load(self, modules: Iterable[str], *, of_app: Iterable[str] = ()) -> None:
        """Import the task modules, which registers their functions, and resolve their type hints.

        Args:
            modules: Those of ``WORKER_TASK_MODULES``.
            of_app: Those of the application, which come first.

        Raises:
            SettingsError: A module cannot be imported, or none of them has a task function.
            InvalidSchedule: Two schedules have one name.
        """
        for module in of_app:
            imported(module, "the application's modules")
        for module in modules:
            imported(module, "WORKER_TASK_MODULES")
        if not self._functions:
            raise SettingsError(
                "there are no task functions: set WORKER_TASK_MODULES to the modules that have "
                "them, for example WORKER_TASK_MODULES=app.tasks"
            )
        for function in self:
            function.signature.check()
        _refuse_two_of_a_name(self.schedules)
        self.loaded = True

    def no_such(self, name: str) -> str:
        """The message for a name that is not here."""
        meant = did_you_mean(name, self._functions)
        known = f"there are {', '.join(self.names)}" if self.names else "none is known here"
        hint = f"did you mean {meant}?" if meant else known
        return f"no task function is called {name}; {hint}"

    @property
    def schedules(self) -> list[Scheduled]:
        """The schedules of all task functions."""
        return [schedule for function in self for schedule in function.schedules]

    @property
    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(self._functions)

    def __iter__(self) -> Iterator[TaskFunction[Any, Any]]:
        return iter(self._functions.values())

    def __contains__(self, name: object) -> bool:
        return name in self._functions


def _refuse_two_of_a_name(schedules: Iterable[Scheduled]) -> None:
    there: dict[str, Scheduled] = {}
    for schedule in schedules:
        other = there.setdefault(schedule.name, schedule)
        if other is not schedule:
            raise InvalidSchedule(
                f"two schedules are called {schedule.name}, of {other.task.name} and "
                f"{schedule.task.name}: give one of them name=…"
            )


def _origin(function: TaskFunction[Any, Any]) -> str:
    return f"{function.function.__module__}.{function.function.__qualname__}"


default_registry = Registry()
"""Where `@task` registers."""


def _why_twice(*functions: TaskFunction[Any, Any]) -> str:
    if not any(one.function.__module__ == "__main__" for one in functions):
        return ""
    return "; their file is the program that runs, and imported, too: run one that imports it"
