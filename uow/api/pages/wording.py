"""How pages say moments, durations and numbers: the filters of the templates."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from markupsafe import Markup

from uow.questions.number import Number

NOTHING: Final = "\N{EN DASH}"
"""For what is not known, or not there."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))

_SOURCES: Final[Mapping[str, str]] = {
    "exact": "counted now",
    "capped": "counted so far: there may be more",
    "rollup": "from what processes have counted, up to half a minute old",
    "estimate": "what the server believes",
}


def seconds(value: float | Number | None) -> str:
    """A duration in the two largest units that say it: ``14 ms``, ``4.2 s``, ``3 min 20 s``."""
    if isinstance(value, Number):
        value = value.value
    if value is None:
        return NOTHING
    if value < 0.9995:
        return f"{value * 1000:.3g} ms"
    if value < 59.95:
        return f"{value:.3g} s"
    return _in_two_units(round(value))


def _in_two_units(left: int) -> str:
    for (unit, name), (smaller, below) in pairwise(_UNITS):
        if left >= unit:
            whole, rest = divmod(left, unit)
            of_smaller = rest // smaller
            return f"{whole:,} {name} {of_smaller} {below}" if of_smaller else f"{whole:,} {name}"
    return f"{left} s"


def moment(value: datetime | None) -> str | Markup:
    """A moment in UTC; the script tells it in the reader's zone, with UTC when pointed at."""
    if value is None:
        return NOTHING
    at = value.astimezone(UTC)
    machine = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        machine, f"{at:%Y-%m-%d %H:%M:%S}", f"{at:%Y-%m-%d %H:%M:%S}"
    )


def number(value: Number | None) -> str | Markup:
    """A number with how far it is to be believed, when pointed at."""
    if value is None:
        return NOTHING
    return Markup('<data value="{}" class="{}" title="{}">{}</data>').format(
        value.value, value.source, _SOURCES[value.source], str(value)
    )


def rate(per_second: float | None) -> str:
    """So many a second, or a minute where that is below one."""
    if per_second is None:
        return NOTHING
    if per_second < 1:
        return f"{per_second * 60:.3g}/min"
    return f"{per_second:,.3g}/s" if per_second < 1000 else f"{per_second:,.0f}/s"


def as_json(value: Any) -> str:
    """A JSON value, indented, for people."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def of_json(text: str | None) -> Any:
    """What a column of JSON says; of an empty one, nothing."""
    return {} if text is None else json.loads(text)


def short_moment(value: datetime | None) -> str | Markup:
    """A moment of today without its day; the script tells it in the reader's zone."""
    if value is None:
        return NOTHING
    at = value.astimezone(UTC)
    if at.date() != datetime.now(UTC).date():
        return moment(value)
    machine = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{} UTC" data-short>{} UTC</time>').format(
        machine, f"{at:%Y-%m-%d %H:%M:%S}", f"{at:%H:%M:%S}"
    )


def or_nothing(value: object) -> object:
    """The value; a dash for None and for empty text."""
    return NOTHING if value is None or value == "" else value


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "seconds": seconds, "moment": moment, "number": number, "rate": rate, "as_json": as_json,
    "or_nothing": or_nothing, "of_json": of_json, "short_moment": short_moment,
}  # fmt: skip
