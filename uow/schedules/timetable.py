"""When a schedule is due: the one place that knows cron expressions.

The rule for clock changes is that of Debian's cron (``man 8 cron``), said so that nothing is left
open:

- A schedule whose minute or hour begins with ``*`` follows the clocks on the wall in real time: an
  hour that is shown twice runs twice, one that is left out does not run.
- Every other schedule runs each of its times once: a time that is shown twice runs the first time,
  one that is left out runs at the moment of the change. Times that fall on one moment are one tick.
- ``@every`` keeps its distance whatever the clocks show: its ticks are the multiples of it since
  1970, so every process knows them without asking.

`cronsim` parses the expression and knows the calendar; it is asked about wall times only, and so
is arq for cron jobs of its own (`uow.fast.arq.times`).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from uow.schedules.wallclock import SECOND, WallClock, wall_clock

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Names for expressions, as every cron has them. Not ``@reboot``: there is no one machine."""

EVERY = re.compile(r"@every (\d+) s")

LONGEST = timedelta(days=366)

_SPAN_OF_ONE = re.compile(r"\b(\w+)-\1/\d+\b")  # cronsim reads 5-5/10 as 5/10, cron as 5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timetable(ABC):
    """The ticks of a schedule. Moments are in UTC; a tick has whole seconds."""

    @abstractmethod
    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick later than `moment`; None: there is none within fifty years."""

    @abstractmethod
    def explain(self) -> str:
        """In English words."""

    def ticks(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The ticks later than `after` and not later than `until`, in order."""
        tick = self.next_after(after)
        while tick is not None and tick <= until:
            yield tick
            tick = self.next_after(tick)

    def last_until(self, moment: datetime, *, after: datetime) -> datetime | None:
        """The last tick not later than `moment`, should it be later than `after`."""
        span = SECOND
        while moment - span > after:
            if (tick := self.next_after(moment - span)) is not None and tick <= moment:
                break
            span *= 2
        last = None
        for last in self.ticks(max(moment - span, after), moment):  # noqa: B007 - the last one counts
            pass
        return last


@dataclass(frozen=True, slots=True)
class WallTimes(Timetable):
    """Times that the clocks show, by the rule above; which ones, a subclass knows.

    Attributes:
        clock: The clocks that it goes by.
    """

    clock: WallClock

    @property
    @abstractmethod
    def follows_the_clocks(self) -> bool:
        """Whether it follows the clocks in real time; otherwise each time is run once."""

    @abstractmethod
    def after(self, wall: datetime) -> Iterator[datetime]:
        """The wall times that are meant and later than `wall`, in order, in whole seconds."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first tick later than `moment`; None: there is none within fifty years."""
        try:
            return self._next_real(moment) if self.follows_the_clocks else self._next_named(moment)
        except (StopIteration, OverflowError):
            return None

    def _next_named(self, moment: datetime) -> datetime | None:
        """The tick of the first named time whose moment is later."""
        ticks = map(self.clock.moment_of, self.after(self.clock.shows(moment)))
        return next((tick for tick in ticks if tick > moment), None)

    def _next_real(self, moment: datetime) -> datetime:
        """The first moment at which the clocks show a time that is meant."""
        seen, offset = self.clock.shows(moment), self.clock.offset(moment)
        while True:
            tick = (next(self.after(seen)) - offset).replace(tzinfo=UTC)
            change = self.clock.change_within(moment, tick)
            if change is None:
                return tick
            # The clocks show something else from then on; the moment of the change counts, too.
            moment, offset = change.at, change.after
            seen = (moment + offset).replace(tzinfo=None) - SECOND


@dataclass(frozen=True, slots=True)
class Cron(WallTimes):
    """A cron expression in a time zone.

    Attributes:
        expression: Five fields, or six with seconds in front.
    """

    expression: str

    @property
    def follows_the_clocks(self) -> bool:
        """Whether its minute or its hour begins with ``*``."""
        *_, minute, hour, _day, _month, _weekday = self.expression.split()
        return minute.startswith("*") or hour.startswith("*")

    def after(self, wall: datetime) -> Iterator[datetime]:
        """The wall times that the expression means and that are later than `wall`."""
        return CronSim(self.expression, wall)

    def explain(self) -> str:
        """In English words."""
        return f"{CronSim(self.expression, _EPOCH).explain()} ({self.clock.zone})"


@dataclass(frozen=True, slots=True)
class Every(Timetable):
    """A tick every so often."""

    interval: timedelta

    def next_after(self, moment: datetime) -> datetime:
        """The first tick later than `moment`."""
        return _EPOCH + ((moment - _EPOCH) // self.interval + 1) * self.interval

    def explain(self) -> str:
        """In English words."""
        return f"Every {self.interval} (hours:minutes:seconds), whatever the clocks show"


def ticks_every(interval: timedelta) -> str:
    """The expression of a schedule with a tick every so often.

    Raises:
        ValueError: It is no whole number of seconds from one second to a year.
    """
    if (
        not isinstance(interval, timedelta)
        or interval % SECOND
        or not SECOND <= interval <= LONGEST
    ):
        raise ValueError(f"every={interval!r} is not a whole number of seconds up to a year")
    return f"@every {interval // SECOND} s"


@lru_cache(maxsize=20_000)
def timetable(expression: str, timezone: str = "UTC") -> Timetable:
    """The timetable of an expression.

    Args:
        expression: Five cron fields, six with seconds in front, a name such as ``@daily``, or what
            `ticks_every` gives.
        timezone: Of the IANA database.

    Raises:
        ValueError: The expression or the zone is wrong, or there never is a tick; says why.
    """
    clock = wall_clock(timezone)
    if (interval := EVERY.fullmatch(expression)) and int(interval[1]):
        return Every(timedelta(seconds=int(interval[1])))
    fields = NAMED.get(expression.strip().lower(), expression)
    fields = _SPAN_OF_ONE.sub(r"\1", fields)
    try:
        CronSim(fields, _EPOCH)
    except CronSimError as error:
        raise ValueError(
            f"{expression!r} is no cron expression: {_reason(fields, error)}"
        ) from None
    made = Cron(clock, " ".join(fields.split()))
    if made.next_after(datetime.now(UTC)) is None:
        raise ValueError(f"{expression!r} never comes due")
    return made


def _reason(fields: str, error: CronSimError) -> str:
    if fields.startswith("@"):
        return f"known names are {', '.join(NAMED)}, and @every N s"
    count = len(fields.split())
    if count not in (5, 6):
        return (
            f"it has {count} fields instead of minute, hour, day of month, month and day of week, "
            "with seconds in front if you like"
        )
    return str(error).lower()
