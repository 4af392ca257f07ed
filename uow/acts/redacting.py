"""What the audit keeps of arguments: values under keys that sound secret are left out."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Redact = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Leaves out of the arguments of the function of a name what nobody is to read."""

HIDDEN = "[redacted]"

_SECRET = re.compile(
    r"passw|secret|token|api_?key|auth|cookie|session|credential|private|card|iban|ssn|cvv",
    re.IGNORECASE,
)


def by_key(name: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
    """A `Redact` that goes by keys, at any depth."""
    _ = name
    return {key: HIDDEN if _SECRET.search(key) else _inside(value) for key, value in args.items()}


def _inside(value: Any) -> Any:
    match value:
        case dict():
            return by_key("", value)
        case list():
            return [_inside(one) for one in value]
    return value
