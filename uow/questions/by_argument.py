"""``arg:KEY=VALUE``: compared here, with what would be shown of the arguments.

Postgres only puts aside rows whose JSON cannot have it: one that has an escaped NUL anywhere would
break a comparison there, and with it the whole list.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import from_json, to_json

_MISSING = object()

_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9_-]+")
"""What is in JSON as it is, whoever has written it."""

_WHOLE_NUMBER = re.compile(r"-?[0-9]+")


def needles_of(arguments: Iterable[tuple[str, str]]) -> list[str] | None:
    """Texts that the JSON of the arguments has if they fit; None: none is asked for."""
    found = [needle for path, text in arguments for needle in (_of_key(path), _of_value(text))]
    return sorted(set(found)) or None


def fit(arguments: Mapping[str, Any], wanted: Iterable[tuple[str, str]]) -> bool:
    """Whether the arguments, as they are shown, are what is wanted."""
    return all(_is(_value_at(arguments, path), text) for path, text in wanted)


def _value_at(arguments: Any, path: str) -> object:
    if isinstance(arguments, Mapping) and path in arguments:
        return arguments[path]
    for part in path.split("."):
        if not isinstance(arguments, Mapping) or part not in arguments:
            return _MISSING
        arguments = arguments[part]
    found: object = arguments
    return found


def _is(value: object, text: str) -> bool:
    if value is _MISSING or isinstance(value, str):
        return value == text
    try:
        return to_json(from_json(text)) == to_json(value)
    except ValueError:
        return False


def _of_key(path: str) -> str:
    return _as_text(path) if "." not in path else _longest(path.rpartition(".")[2])


def _of_value(text: str) -> str:
    if _WHOLE_NUMBER.fullmatch(text):
        return text
    try:
        from_json(text)
    except ValueError:
        return _as_text(text)
    return ""  # a number can be written in several ways


def _as_text(text: str) -> str:
    """How JSON has it, or the part of it that is always the same."""
    return f'"{text}"' if _NEVER_ESCAPED.fullmatch(text) else _longest(text)


def _longest(text: str) -> str:
    return max(_NEVER_ESCAPED.findall(text), key=len, default="")
