"""The words of a filter as options of a command."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar

from uow.cli import tasks

T = TypeVar("T")

_OPTIONS: dict[str, Any] = {
    "state": tasks.States,
    "name": tasks.Name,
    "queue": tasks.Queue,
    "user": tasks.User,
    "since": tasks.Since,
    "until": tasks.Until,
    "settled_since": tasks.SettledSince,
    "settled_until": tasks.SettledUntil,
    "error": tasks.Error,
    "worker": tasks.Worker,
    "schedule": tasks.Schedule,
}
"""Those that a bulk act knows."""


def takes_filter(function: Callable[..., T]) -> Callable[..., T]:
    """Give a command these options; its parameter `words` gets what was said."""

    @wraps(function)
    def run(**given: Any) -> T:
        words = tasks.words_of(**{name: given.pop(name) for name in _OPTIONS})
        return function(words=words, **given)

    own = [one for one in signature(function).parameters.values() if one.name != "words"]
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]
    named = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in own]
    run.__signature__ = Signature([*named, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in [*named, *options]}
    return run
