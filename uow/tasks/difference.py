"""Whether what comes back from JSON is what was given, types and all."""

import dataclasses
import marshal
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel

Place = tuple[object, ...]
"""The names, keys and indexes that lead to a part of a value."""

LONGEST_STEP = 40
"""Characters of a key that are shown."""

_SPECIALISED = (datetime, date, time, timedelta, UUID, Decimal)
# Drivers and libraries have subclasses of these, and pydantic lets them pass as they are: whoever
# annotates with `UUID` gets one. Of every other type a subclass is another type.

_SIMPLE = frozenset({str, int, bool, bytes, UUID})
# Equal is the same, and most values are of these.

_MISSING = object()

_CONVERTED = "annotate it with what you give, or convert it before"
_CHANGED = "a field that is excluded is lost, and so is what a validator cannot read again"
_RENAMED = "keys are text in JSON: annotate what they are, or make them text before"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value does not come back as it was, and where in it; never what is in it."""

    place: Place
    reason: str

    def __str__(self) -> str:
        place = ".".join(map(_shown, self.place))
        return f"{place}: {self.reason}" if place else self.reason


def difference(given: object, back: object) -> Fault | None:
    """The first place where `back` is not what `given` is; None: they are the same."""
    try:
        return None if _are_one_to_marshal(given, back) else _difference(given, back)
    except RecursionError:
        return Fault((), "leads back to itself, or is nested too deeply to be compared")


def _are_one_to_marshal(given: Any, back: Any) -> bool:
    """Whether they are made of Python's simplest types alone, and the same: a quick answer.

    Marshal knows exactly those types and no subclass of them. In its format 2 it writes each
    value by itself; later ones refer to what was there before.
    """
    try:
        return marshal.dumps(given, 2) == marshal.dumps(back, 2)
    except ValueError:
        return False


def _difference(given: Any, back: Any) -> Fault | None:
    kind = type(given)
    if given is back or (kind is type(back) and kind in _SIMPLE and given == back):
        return None
    if not _of_one_type(given, back):
        return Fault((), f"{_kind(given)} would arrive as {_kind(back)}; {_CONVERTED}")
    parts, parts_back = _parts(given), _parts(back)
    if parts is None or parts_back is None:
        changed = f"another {kind.__name__} would arrive; {_CHANGED}"
        return None if _equal(given, back) else Fault((), changed)
    if not _same_steps(parts, parts_back):
        return Fault((), f"{_kind(given)} with other keys would arrive; {_RENAMED}")
    for step, part in parts.items():
        fault = _difference(part, parts_back[step])
        if fault is not None:
            return Fault((step, *fault.place), fault.reason)
    return None


def _of_one_type(given: object, back: object) -> bool:
    kind = type(back)
    if type(given) is kind:
        return True
    if kind is float:
        return type(given) is int  # whoever annotates with `float` takes an int for one
    if kind is date and isinstance(given, datetime):
        return False
    return kind in _SPECIALISED and isinstance(given, kind)


def _parts(value: Any) -> Mapping[Any, object] | None:
    """What `value` consists of; None: nothing that could be looked at by itself."""
    match value:
        case dict():
            return value
        case list() | tuple() | deque():
            return dict(enumerate(value))
        case float() | datetime() | Enum():
            return None
        case BaseModel():
            return _parts_of_model(value)
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name, _MISSING) for name in names}
    has_no_equality = getattr(type(value), "__eq__", None) is object.__eq__
    return getattr(value, "__dict__", None) if has_no_equality else None


def _parts_of_model(model: BaseModel) -> dict[str, object]:
    there = model.__dict__  # what is cached may be there, too
    parts = {name: there.get(name, _MISSING) for name in type(model).model_fields}
    return parts | (model.__pydantic_extra__ or {}) | (model.__pydantic_private__ or {})


def _same_steps(parts: Mapping[Any, object], others: Mapping[Any, object]) -> bool:
    return [*parts] == [*others] and [*map(type, parts)] == [*map(type, others)]


def _equal(given: Any, back: object) -> bool:
    try:
        match back:
            case float():  # nan is nan, and -0.0 is not 0.0
                return repr(float(given)) == repr(back)
            case Decimal():  # 1.0 is not 1.00
                return str(given) == str(back)
            case datetime() | time():
                return bool(given == back) and given.utcoffset() == back.utcoffset()
            case set() | frozenset():
                return _typed(given) == _typed(back)
            case _:
                return bool(given == back)
    except Exception:  # it is somebody else's ==
        return False


def _typed(values: Iterable[object]) -> set[tuple[type, object]]:
    return {(type(value), value) for value in values}


def _kind(value: object) -> str:
    name = "None" if value is None else type(value).__name__
    return "nothing" if value is _MISSING else f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _shown(step: object) -> str:
    text = str(step)
    if len(text) > LONGEST_STEP:
        text = f"{text[:LONGEST_STEP]}…"
    return text if text.isprintable() else repr(text)
