"""Whether what comes back from JSON is what was given, types and all."""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
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
        return next(_differences(given, back, ()), None)
    except RecursionError:
        return Fault((), "leads back to itself, or is nested too deeply to be compared")


def _differences(given: object, back: object, place: Place) -> Iterator[Fault]:
    if given is back:
        return
    if not _of_one_type(given, back):
        yield Fault(place, f"{_kind(given)} would arrive as {_kind(back)}; {_CONVERTED}")
        return
    parts, parts_back = _parts(given), _parts(back)
    if parts is None or parts_back is None:
        if not _equal(given, back):
            yield Fault(place, f"another {type(given).__name__} would arrive; {_CHANGED}")
    elif _steps(parts) != _steps(parts_back):
        yield Fault(place, f"{_kind(given)} with other keys would arrive; {_RENAMED}")
    else:
        for step, part in parts.items():
            yield from _differences(part, parts_back[step], (*place, step))


def _of_one_type(given: object, back: object) -> bool:
    kind = type(back)
    if type(given) is kind:
        return True
    if kind is float:
        return type(given) is int  # whoever annotates with `float` takes an int for one
    if kind is date and isinstance(given, datetime):
        return False
    return kind in _SPECIALISED and isinstance(given, kind)


def _parts(value: object) -> Mapping[Any, object] | None:
    """What `value` consists of; None: nothing that could be looked at by itself."""
    match value:
        case BaseModel():
            return _parts_of_model(value)
        case dict():
            return value
        case list() | tuple() | deque():
            return dict(enumerate(value))
    if dataclasses.is_dataclass(value):
        names: Iterable[str] = (field.name for field in dataclasses.fields(value))
        return {name: getattr(value, name, _MISSING) for name in names}
    if type(value).__eq__ is object.__eq__:
        return getattr(value, "__dict__", None)
    return None


def _parts_of_model(model: BaseModel) -> dict[str, object]:
    fields = {name: getattr(model, name, _MISSING) for name in type(model).model_fields}
    return {**fields, **(model.__pydantic_extra__ or {}), **(model.__pydantic_private__ or {})}


def _steps(parts: Mapping[Any, object]) -> list[tuple[type, object]]:
    return [(type(step), step) for step in parts]


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
