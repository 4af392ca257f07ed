"""Which ticks of a schedule are run now, and which were missed."""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.execution.cron import Missed
from worker.execution.timetable import Timetable

LIMIT = 100
"""Ticks of one schedule that are run at once; the rest a moment later."""

MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Due:
    """What has become of the time since a schedule was last looked at.

    Attributes:
        ticks: They are run now, in order.
        missed: The first and the last of those that are not; None: there are none.
        following: When to look again; None: never.
    """

    ticks: list[datetime]
    missed: tuple[datetime, datetime] | None
    following: datetime | None


def due(table: Timetable, missed: Missed, grace: float, next_tick: datetime, now: datetime) -> Due:
    """Decide about the ticks from `next_tick` to `now`.

    What is later than `grace` was missed. The time that is missed is not walked through, however
    long it is: only the ticks that are run are looked for, and the last one.
    """
    on_time = now - timedelta(seconds=grace)
    if missed == "all" or next_tick >= on_time:
        ticks = [next_tick, *itertools.islice(table.ticks(next_tick, now), LIMIT - 1)]
        return Due(ticks, None, table.next_after(ticks[-1]))
    ticks = list(itertools.islice(table.ticks(on_time - MOMENT, now), LIMIT))
    last = table.last_until(on_time - MOMENT, after=next_tick) or next_tick
    if ticks or missed == "skip":
        return Due(ticks, (next_tick, last), table.next_after(ticks[-1] if ticks else now))
    before = table.last_until(last - MOMENT, after=next_tick) or next_tick
    return Due([last], None if last == next_tick else (next_tick, before), table.next_after(now))
