"""Whether a function's first parameter can be ctx, which every task function gets.

Where it cannot, the function was written without one: its first argument would be taken for ctx,
and nobody would miss it before the function runs.
"""

import inspect
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from typing_extensions import is_typeddict

from uow.tasks.signature import hints_of

_NAMES = ("", "c")
"""Beside those with "ctx" or "context" in them; underscores do not count."""

_NO_PLACE = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)


def is_context(function: Callable[..., object], first: inspect.Parameter) -> bool:
    """Whether `first`, the first parameter of `function`, can be ctx.

    Its type hint decides where it says anything, like `int` or a model; else its name.
    """
    if first.kind in _NO_PLACE:
        return False
    if first.kind is inspect.Parameter.VAR_POSITIONAL:
        return True
    hint = hint_of(function, first)
    if hint is None:  # its own name tells
        return _is_named_so(first.name) or _is_named_so(str(first.annotation))
    takes = _takes_dict(hint)
    return _is_named_so(first.name) if takes is None else takes


def hint_of(function: Callable[..., object], first: inspect.Parameter) -> Any:
    """The type hint of `first`, the first parameter of `function`.

    None: it is of something that is not there yet, or for type checkers alone.
    """
    try:
        return hints_of(function, [first.name]).get(first.name, Any)
    except Exception:
        return None


def _takes_dict(hint: Any) -> bool | None:
    """Whether a parameter with this hint gets arq's dict; None: it may be that, or another one."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _takes_dict(get_args(hint)[0])
    if origin in (Union, UnionType):
        said = {_takes_dict(each) for each in get_args(hint)}
        return next(answer for answer in (True, None, False) if answer in said)
    if is_typeddict(origin or hint):
        return True
    return None if _is_base_of_dict(origin or hint) else False


def _is_base_of_dict(kind: Any) -> bool:
    if kind is Any or not isinstance(kind, type):
        return True  # or a type variable, or an alias
    try:
        return issubclass(dict, kind) or issubclass(kind, Mapping)
    except TypeError:  # a protocol
        return True


def _is_named_so(name: str) -> bool:
    plain = name.lower().strip("_")
    return plain in _NAMES or "ctx" in plain or "context" in plain
