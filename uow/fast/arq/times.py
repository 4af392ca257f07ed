"""When a cron job of arq's is due.

arq knows the calendar and is asked about wall times only: around a change of the clocks its own
arithmetic with zones runs an every-minute job 90 times instead of 30, or not at all for an hour.
The rule that holds here is that of every schedule, in `uow.schedules.timetable`. What is ``*``
there is a field that allows everything here: ``None``, or a set of all its values.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from arq.cron import CronJob, next_cron
from arq.typing import OptionType

from uow.errors import SettingsError
from uow.schedules.timetable import WallTimes
from uow.schedules.wallclock import local_wall_clock, wall_clock

MINUTES, HOURS = frozenset(range(60)), frozenset(range(24))


@dataclass(frozen=True, slots=True)
class ArqTimes(WallTimes):
    """The times of a cron job.

    Attributes:
        cron_job: Its `microsecond` is added to each tick, also to one at the moment of a change.
    """

    cron_job: CronJob

    @property
    def follows_the_clocks(self) -> bool:
        """Whether its minute or its hour is any."""
        return _is_any(self.cron_job.minute, MINUTES) or _is_any(self.cron_job.hour, HOURS)

    def after(self, wall: datetime) -> Iterator[datetime]:
        """The wall times that arq finds later than `wall`, in whole seconds."""
        job = self.cron_job
        while True:
            wall = next_cron(
                wall.replace(microsecond=0),  # arq looks from the next second on
                month=job.month, day=job.day, weekday=job.weekday,
                hour=job.hour, minute=job.minute, second=job.second, microsecond=0,
            )  # fmt: skip
            yield wall

    def next_after(self, moment: datetime) -> datetime:
        """The first tick later than `moment`.

        Raises:
            SettingsError: arq cannot read a field, or there is none until the end of all dates.
        """
        late = timedelta(microseconds=self.cron_job.microsecond)
        try:
            tick = WallTimes.next_after(self, moment - late)
        except (ValueError, RuntimeError) as error:
            raise SettingsError(f"cron job {self.cron_job.name}: {error!r}") from error
        if tick is None:
            raise SettingsError(f"cron job {self.cron_job.name} never comes due")
        return tick + late

    def explain(self) -> str:
        """In arq's words."""
        return f"{self.cron_job!r} ({self.clock.zone})"


def zone_of(timezone: tzinfo | None) -> tzinfo:
    """The zone that cron jobs go by: `timezone`, or this machine's, with its clock changes.

    arq takes the offset that the machine has when the worker starts, and keeps it.

    Raises:
        SettingsError: `TZ` names none that we know.
    """
    name = getattr(timezone, "zone", None)  # pytz's zones cannot tell the moment of a wall time
    try:
        if isinstance(name, str):
            return wall_clock(name).zone
        return local_wall_clock().zone if timezone is None else timezone
    except ValueError as error:
        raise SettingsError(
            f"{error}, and the cron jobs need one: set timezone in the settings class"
        ) from error


def _is_any(field: OptionType, values: AbstractSet[int]) -> bool:
    if isinstance(field, set | list | tuple):
        return values <= set(field)
    return field is None
