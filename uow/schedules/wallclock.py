"""What the clocks on the wall of a time zone show, and which moment it is then.

Clocks are put forward and back. Here is what that means for a time that somebody has named; what it
means for a schedule is in `uow.schedules.timetable`.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

STEP = timedelta(days=1)
"""How far apart we look for a change of the clocks: no zone has two within a day."""

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Change:
    """The clocks of a zone are changed.

    Attributes:
        at: When, in UTC.
        before: The offset from UTC until then.
        after: The offset from then on.
    """

    at: datetime
    before: timedelta
    after: timedelta


@dataclass(frozen=True, slots=True)
class WallClock:
    """The clocks of one zone. Wall times are datetimes without a zone, moments are in UTC.

    Attributes:
        zone: One that goes by `fold` where a time is shown twice: any but pytz's.
    """

    zone: tzinfo

    def offset(self, moment: datetime) -> timedelta:
        """The offset from UTC at a moment."""
        offset = moment.astimezone(self.zone).utcoffset()
        assert offset is not None  # noqa: S101 - a zone has one
        return offset

    def shows(self, moment: datetime) -> datetime:
        """The wall time at a moment."""
        return moment.astimezone(self.zone).replace(tzinfo=None, fold=0)

    def moment_of(self, wall: datetime) -> datetime:
        """When the clocks show `wall`: the first time if twice, the moment of the change if never.

        Raises:
            OverflowError: It is at the end of all dates.
        """
        moment = wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        if self.shows(moment) == wall:
            return moment
        change = self.change_within(moment - STEP, moment)
        return moment if change is None else change.at

    def change_within(self, after: datetime, until: datetime) -> Change | None:
        """The first change of the clocks after one moment, and not later than another."""
        before, offset = after, self.offset(after)
        while before < until:
            later = min(before + STEP, until)
            if self.offset(later) != offset:
                return self._between(before, later)
            before = later
        return None

    def _between(self, before: datetime, later: datetime) -> Change:
        """The change between two moments with different offsets: by halving, to the second."""
        offset = self.offset(before)
        while later - before > SECOND:
            middle = before + (later - before) // 2
            middle = max(middle.replace(microsecond=0), before + SECOND)
            if self.offset(middle) == offset:
                before = middle
            else:
                later = middle
        at = later.replace(microsecond=0)
        return Change(at, offset, self.offset(at))


@cache
def wall_clock(timezone: str) -> WallClock:
    """The clocks of a zone by its name in the IANA database, such as ``Europe/Berlin``.

    Raises:
        ValueError: There is no such zone.
    """
    try:
        return WallClock(ZoneInfo(timezone))
    except (KeyError, ValueError, OSError) as error:  # not found, not a name, a folder
        raise ValueError(f"there is no time zone {timezone!r}") from error


LOCALTIME = Path("/etc/localtime")


def local_wall_clock() -> WallClock:
    """The clocks of this machine: the zone that `TZ` names, or that it is set to, or UTC.

    Raises:
        ValueError: `TZ` names no zone of the IANA database, nor a file that describes one.
    """
    name = os.environ.get("TZ", "").removeprefix(":")
    path = Path(name) if name.startswith("/") else LOCALTIME
    if name and path is LOCALTIME:
        return wall_clock(name)
    if not path.is_file():
        return wall_clock("UTC")  # as the C library does
    with path.open("rb") as file:
        return WallClock(ZoneInfo.from_file(file, key="local time"))
