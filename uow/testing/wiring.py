"""Whether everything that asks for a task has a function that would run it."""

import sys
from collections.abc import Iterable, Iterator

from uow.errors import WorkerError
from uow.schedules.cron import schedules_of
from uow.spelling import did_you_mean
from uow.tasks.reference import TaskRef
from uow.tasks.registry import Registry
from uow.testing.rows import EnqueuedTask
from uow.testing.runner import Runner


def faults_of(
    runner: Runner, enqueued: Iterable[EnqueuedTask], other_services: Iterable[str]
) -> list[str]:
    """What is not wired, a line for each.

    Raises:
        SettingsError: A task module cannot be imported.
    """
    runner.load()
    registry, others = runner.registry, set(other_services)
    faults = [
        *_of_signatures(registry),
        *_of_rows(registry, [task for task in enqueued if task.name not in others]),
        *_of_references(registry, others),
        *_of_schedules(runner),
    ]
    return list(dict.fromkeys(faults))


def _of_signatures(registry: Registry) -> Iterator[str]:
    for function in registry:
        try:
            function.signature.check()
        except WorkerError as error:
            yield str(error)


def _of_rows(registry: Registry, enqueued: Iterable[EnqueuedTask]) -> Iterator[str]:
    for task in enqueued:
        function = registry.get(task.name)
        if function is None:
            yield f"{task} was enqueued: {_no_such(registry, task.name)}"
            continue
        try:
            function.signature.decode_arguments(task.written)
        except WorkerError as error:
            yield f"{task} was enqueued, and its arguments do not fit: {error}"


def _of_references(registry: Registry, others: set[str]) -> Iterator[str]:
    for place, reference in _references():
        if reference.name not in registry and reference.name not in others:
            yield f"{place}: {_no_such(registry, reference.name)}"


def _references() -> Iterator[tuple[str, TaskRef]]:
    """Those that a module has, where it is not one of ours."""
    for module, there in list(sys.modules.items()):
        if module.partition(".")[0] == "uow":
            continue
        for name, value in list(getattr(there, "__dict__", {}).items()):
            if type(value) is TaskRef:
                yield f"{module}.{name}", value


def _of_schedules(runner: Runner) -> Iterator[str]:
    declared = [*schedules_of(runner.registry), *runner.app.schedules(runner.settings)]
    for one in declared:
        if one.task.name not in runner.registry:
            yield f"schedule {one.name}: {_no_such(runner.registry, one.task.name)}"
        try:
            one.definition(runner.settings.queue)
        except WorkerError as error:
            yield str(error)


def _no_such(registry: Registry, name: str) -> str:
    meant = did_you_mean(name, registry.names)
    hint = f"did you mean {meant}?" if meant else "name it in other_services, if another has it"
    return f"no task function is called {name}; {hint}"
