"""By how much grew what has happened so far, and how two growths differ."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

_NONE = object()


def growth_of(earlier: Any, later: Any) -> Any:
    """What has come to `earlier` in `later`; of what cannot grow, `later`."""
    match earlier, later:
        case Mapping(), Mapping():
            names = sorted({*earlier, *later}, key=str)
            grown = {name: _grown(earlier, later, name) for name in names}
            return {name: value for name, value in grown.items() if not _is_nothing(value)}
        case (bool(), _) | (_, bool()) | (str(), _) | (_, str()):
            return later
        case Sequence(), Sequence():
            return list(later[len(earlier) :])
        case AbstractSet(), AbstractSet():
            return set(later) - set(earlier)
        case ((int() | float()), (int() | float())):
            return later - earlier
    return later


def _grown(earlier: Mapping[Any, Any], later: Mapping[Any, Any], name: Any) -> Any:
    value = later.get(name, _NONE)
    if value is _NONE:
        return growth_of(earlier[name], type(earlier[name])())
    return growth_of(earlier.get(name, type(value)()), value)


def _is_nothing(value: Any) -> bool:
    return value in (0, [], set(), {}) and not isinstance(value, bool)


def differences(once: Any, again: Any, what: str = "") -> list[str]:
    """In what `again` is not as `once`, a line for each."""
    if isinstance(once, Mapping) and isinstance(again, Mapping):
        names = sorted({*once, *again}, key=str)
        return [
            line
            for name in names
            for line in differences(once.get(name, 0), again.get(name, 0), _said(what, name))
        ]
    if once == again:
        return []
    return [f"{what}: {again!r}, and {once!r} when it runs once"]


def _said(what: str, name: object) -> str:
    return str(name) if what in ("", "effects") else f"{what}, {name}"
