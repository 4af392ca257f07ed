"""What nobody is to see who looks at tasks, by its type and by its key.

By its type: `Private` and pydantic's secrets in a task function's signature, where this process
has the function. By its key: the patterns of ``WORKER_REDACT``, at any depth. Values that a task
function has put into a text, such as the message of an error, are beyond both.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import translate
from typing import Any

from uow.errors import InvalidFilter
from uow.questions.filters import TaskFilter
from uow.tasks.function import TaskFunction
from uow.tasks.handle import TaskView
from uow.tasks.private_types import WHOLE, Privacy, privacy_of
from uow.tasks.registry import Registry

REDACTED = "[redacted]"
"""What is shown instead."""

_NOTHING: Sequence[Privacy] = ()


class Redaction:
    """Takes out what is private.

    Args:
        patterns: Of keys, as in ``*password*``; without regard to case, and ``-`` is ``_``.
        registry: The task functions that this process knows.
    """

    def __init__(self, patterns: Iterable[str], registry: Registry) -> None:
        wanted = [translate(_key(pattern)) for pattern in patterns]
        self._hidden = re.compile("|".join(wanted), re.IGNORECASE) if wanted else None
        self._registry = registry
        self._signatures: dict[str, Mapping[str, Privacy] | None] = {}

    def arguments(self, name: str, arguments: object) -> Any:
        """The arguments of a task of the function `name`, as JSON values."""
        return self._taken(arguments, [Privacy(fields=dict(self._signature(name)))])

    def result(self, name: str, result: object) -> Any:
        """What a task of the function `name` has returned."""
        return self._taken(result, [self._signature(name).get("return", _NO_PRIVACY)])

    def values(self, values: object) -> Any:
        """Any JSON value, by its keys alone: headers, progress."""
        return self._taken(values, _NOTHING)

    def task(self, task: TaskView) -> TaskView:
        """A task, with what is hidden left out."""
        return replace(
            task,
            args=self.arguments(task.name, task.args),
            result=None if task.result is None else self.result(task.name, task.result),
            progress=self.values(task.progress),
            headers=self.values(task.headers),
        )

    def hides(self, path: str) -> bool:
        """Whether a key, or one of several that are joined by dots, is hidden."""
        return any(self._hides(part) for part in (path, *path.split(".")))

    def refuse_hidden(self, wanted: TaskFilter) -> None:
        """Raise if a filter asks for what is hidden: whoever guesses could find it out.

        Raises:
            InvalidFilter: It does.
        """
        for path, _ in wanted.arguments:
            if self.hides(path) or self._is_private(wanted.exact_name, path):
                raise InvalidFilter(
                    f"arg:{path[:80]} is redacted, so nothing can be found by it (WORKER_REDACT, "
                    "or a private parameter)"
                )

    def _is_private(self, name: str | None, path: str) -> bool:
        if name is None:
            return False  # compared is what is shown
        stand: Sequence[Privacy] = [Privacy(fields=dict(self._signature(name)))]
        for part in path.split("."):
            stand = _inside(_all(stand), part)
            if any(one.whole for one in _all(stand)):
                return True
        return False

    def _hides(self, key: str) -> bool:
        return self._hidden is not None and self._hidden.match(_key(key)) is not None

    def _signature(self, name: str) -> Mapping[str, Privacy]:
        if name not in self._signatures:
            function = self._registry.get(name)
            self._signatures[name] = None if function is None else _signature(function)
        return self._signatures[name] or {}

    def _taken(self, value: object, privacy: Sequence[Privacy]) -> object:
        stand = _all(privacy)
        if any(one.whole for one in stand):
            return REDACTED
        if isinstance(value, Mapping):
            return {key: self._of_key(key, inner, stand) for key, inner in value.items()}
        if isinstance(value, list):
            inside = [one.items for one in stand if one.items is not None]
            return [self._taken(each, inside) for each in value]
        return value

    def _of_key(self, key: str, value: object, stand: Sequence[Privacy]) -> object:
        return REDACTED if self._hides(key) else self._taken(value, _inside(stand, key))


_NO_PRIVACY = Privacy()


def _signature(function: TaskFunction[Any, Any]) -> Mapping[str, Privacy]:
    found = {}
    for name in (*function.signature.parameters, "return"):
        try:
            found[name] = privacy_of(function.signature.hint(name))
        except Exception:  # whatever a hint leads to: what nobody can read is shown to nobody
            found[name] = WHOLE
    return found


def _all(privacy: Sequence[Privacy]) -> Sequence[Privacy]:
    return [each for one in privacy for each in one.all()]


def _inside(stand: Sequence[Privacy], key: str) -> Sequence[Privacy]:
    found = [one.fields[key] for one in stand if key in one.fields]
    return found + [one.items for one in stand if one.items is not None]


def _key(key: str) -> str:
    return key.replace("-", "_")
