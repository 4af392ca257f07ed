"""Moments as people write them: ISO 8601, or how long ago."""

import re
from datetime import UTC, datetime, timedelta

from uow.errors import InvalidFilter

_AGO = re.compile(r"(\d{1,9})\s*(s|min|m|h|d|w)")

_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}

EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
LATEST = datetime(9999, 12, 30, tzinfo=UTC)
"""An id cannot say a moment outside of these, nor can every zone show it."""


def moment_of(word: str, given: str, now: datetime) -> datetime:
    """The moment that is meant, in UTC.

    Args:
        word: The filter's, for the message.
        given: ``2030-01-31T12:00Z``, with any zone, or none for UTC; or how long before `now`:
            ``90s``, ``30m``, ``12h``, ``3d``, ``2w``.

    Raises:
        InvalidFilter: It is neither, or out of range.
    """
    return _moment(word, given, now, "ago")


def _moment(word: str, given: str, now: datetime, way: str) -> datetime:
    try:
        moment = _read(given.strip(), now)
    except (ValueError, OverflowError):
        raise InvalidFilter(
            f"{word}={given[:80]} is no moment: write it as 2030-01-31T12:00Z, or how long {way}, "
            "as 12h or 3d"
        ) from None
    if not EARLIEST <= moment <= LATEST:
        raise InvalidFilter(f"{word}={given[:80]} is out of range")
    return moment


def moment_ahead(word: str, given: str, now: datetime) -> datetime:
    """The same of what is to come: ``2h`` means in two hours.

    Raises:
        InvalidFilter: It is neither, or out of range.
    """
    moment = _moment(word, given, now, "from now")
    return now + (now - moment) if _AGO.fullmatch(given.strip()) else moment


def _read(given: str, now: datetime) -> datetime:
    if ago := _AGO.fullmatch(given):
        return now - int(ago[1]) * _UNITS[ago[2]]
    moment = datetime.fromisoformat(given)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
