"""Whether a function can be a task function, and where it runs then."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from uow.errors import InvalidOptions
from uow.tasks.context import Sessions, SyncSessions
from uow.tasks.first_parameter import hint_of, is_context
from uow.tasks.function import RunsIn

RIGHT: Mapping[RunsIn, str] = {
    "loop": "TaskContext", "thread": "SyncTaskContext", "process": "CpuContext",
}  # fmt: skip
"""What the hint of ctx is, or inherits from, by where the function runs."""

_SESSIONS: Mapping[RunsIn, object] = {"loop": Sessions, "thread": SyncSessions, "process": None}


def place_of(name: str, function: Callable[..., object], *, in_process: bool) -> RunsIn:
    """Where `function`, the task function `name`, runs.

    Raises:
        InvalidOptions: It cannot be one.
    """
    _refuse_no_function(name, function)
    place: RunsIn = "loop" if inspect.iscoroutinefunction(function) else "thread"
    if in_process:
        _refuse_out_of_reach(name, function, place)
        place = "process"
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or not is_context(function, parameters[0]):
        raise InvalidOptions(f"{name}: {_without_ctx(function, parameters, place)}")
    _refuse_others_sessions(name, function, parameters[0], place)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in parameters[1:]:
        if parameter.kind not in named:
            raise InvalidOptions(f"{name}: parameter {parameter} has no name of its own")
    return place


def _refuse_no_function(name: str, function: object) -> None:
    if inspect.iscoroutinefunction(function):
        return
    if isinstance(function, type) or not (callable(function) and hasattr(function, "__qualname__")):
        raise InvalidOptions(f"{name}: {function!r} is neither an async def nor a def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidOptions(
            f"{name}: {function!r} has a yield, but a task function returns, and once: return a "
            "list, or enqueue a task for each part"
        )


def _refuse_out_of_reach(name: str, function: Callable[..., object], place: RunsIn) -> None:
    if place == "loop":
        raise InvalidOptions(
            f"{name}: process=True is for a def, and {function!r} is an async def: a child process "
            "has no event loop"
        )
    called = function.__qualname__
    if "<locals>" in called or "<lambda>" in called:
        raise InvalidOptions(
            f"{name}: process=True, but {called} is defined inside a function, where a child "
            "process, which imports its module, does not find it"
        )


def _refuse_others_sessions(
    name: str, function: Callable[..., object], first: inspect.Parameter, place: RunsIn
) -> None:
    """The hint of ctx may speak of sessions of another kind, or of some where there are none."""
    hint = hint_of(function, first)
    given = getattr(hint, "__annotations__", {}).get("db")
    if given is _SESSIONS[place] or given not in (Sessions, SyncSessions):
        return
    said = f"whose sessions are of another kind than those of {getattr(hint, '__name__', hint)}"
    why = {
        "loop": f"an async def, {said}",
        "thread": f"a def, {said}",
        "process": "process=True, which has no session",
    }[place]
    raise InvalidOptions(
        f"{name}: it is {why}: write {first.name}: {RIGHT[place]}, or a class that inherits from it"
    )


def _without_ctx(
    function: Callable[..., Any], parameters: list[inspect.Parameter], place: RunsIn
) -> str:
    """What is wrong with its first parameter, and what to write instead."""
    there = f"which {parameters[0]} is not" if parameters else "but there is none"
    others = [str(each) for each in parameters if each.name not in ("self", "cls", "ctx")]
    right = ", ".join([f"ctx: {RIGHT[place]}", *others])
    called = getattr(function, "__name__", "f")
    kind = "async def" if place == "loop" else "def"
    return f"the first parameter gets the context, {there}: write {kind} {called}({right})"
