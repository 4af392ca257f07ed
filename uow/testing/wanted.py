"""Which of the tasks that were asked for a test means, and what to say when it is none of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from uow.broker import codec
from uow.errors import EnqueueError
from uow.tasks.enqueue import Enqueueable
from uow.tasks.function import ConfiguredTask, TaskFunction
from uow.tasks.options import Options
from uow.tasks.reference import TaskRef
from uow.tasks.registry import Registry
from uow.testing.rows import EnqueuedTask

SHOWN = 20
"""Tasks that a message shows at most."""

Named = Enqueueable[Any, Any] | str
"""A task function, one with options, or one by its name."""

_COMPARED = ("queue", "priority", "user_id", "unique_key")
"""The options that a row keeps as they were given."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a test means: a name, some of the arguments, some of the options.

    Attributes:
        function: None: it is not known here.
    """

    name: str
    function: TaskFunction[Any, Any] | None
    arguments: Mapping[str, object]
    options: Mapping[str, object]

    @classmethod
    def of(cls, named: Named, arguments: Mapping[str, object], registry: Registry) -> "Wanted":
        """What is meant by a task function, one with options, or a name.

        Raises:
            TypeError: It is something else.
        """
        match named:
            case TaskFunction():
                return cls(named.name, named, arguments, {})
            case ConfiguredTask():
                return cls(named.task.name, named.task, arguments, _given(named.chosen))
            case TaskRef():
                known = registry.get(named.name)
                return cls(named.name, known, arguments, _given(named.chosen))
            case str():
                return cls(named, registry.get(named), arguments, {})
        raise TypeError(f"{named!r} is neither a task function nor the name of one")

    def matches(self, task: EnqueuedTask) -> bool:
        """Whether it is the one."""
        return task.name == self.name and not self.differences(task)

    def arguments_of(self, task: EnqueuedTask) -> Mapping[str, object]:
        """All that it was given, as the function gets them."""
        return self._typed(task) or task.arguments

    def differences(self, task: EnqueuedTask) -> list[str]:
        """In what a task of that name is another one."""
        return [
            *(f"{name}: {said}" for name, said in self._of_arguments(task)),
            *(f"{name} is {getattr(task, name)!r} and not {value!r}"
              for name, value in self.options.items() if getattr(task, name) != value),
        ]  # fmt: skip

    def _of_arguments(self, task: EnqueuedTask) -> list[tuple[str, str]]:
        json, typed = task.arguments, self._typed(task)
        found = []
        for name, value in self.arguments.items():
            got = json.get(name, _MISSING)
            if got is _MISSING:
                found.append((name, "it was not given"))
            elif typed.get(name, _MISSING) != value and got != _as_json(value):
                found.append((name, f"{got!r} and not {value!r}"))
        return found

    def _typed(self, task: EnqueuedTask) -> Mapping[str, object]:
        if self.function is None:
            return {}
        try:
            return self.function.signature.decode_arguments(task.written)
        except EnqueueError:
            return {}

    def __str__(self) -> str:
        said = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        options = "".join(f", {name} {value!r}" for name, value in self.options.items())
        return f"{self.name}({said}{options})"


def not_enqueued(wanted: Wanted, there: Sequence[EnqueuedTask]) -> str:
    """What to say when it was not asked for."""
    if not there:
        return f"{wanted} was not enqueued: no task was, in this test"
    same = [task for task in there if task.name == wanted.name]
    others = [task for task in there if task.name != wanted.name]
    lines = [f"  {task} is {task.state}; {'; '.join(wanted.differences(task))}" for task in same]
    lines += [f"  {task} is {task.state}" for task in others]
    return "\n".join([f"{wanted} was not enqueued; what was:", *_some(lines)])


def was_enqueued(wanted: Wanted, found: Sequence[EnqueuedTask]) -> str:
    """What to say when it was asked for and should not have been."""
    lines = [f"  {task} is {task.state}" for task in found]
    return "\n".join([f"{wanted} was enqueued:", *_some(lines)])


def _some(lines: Sequence[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], *([f"  … and {more} more"] if more > 0 else [])]


def _given(options: Options) -> dict[str, object]:
    said = {one.name: getattr(options, one.name) for one in fields(options)}
    return {name: said[name] for name in _COMPARED if said[name] is not None}


def _as_json(value: object) -> object:
    try:
        return codec.from_bytes(codec.to_bytes({"value": value}))["value"]
    except EnqueueError:
        return _MISSING
