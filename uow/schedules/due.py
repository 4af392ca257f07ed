"""Which ticks of a schedule are run now, and which were missed."""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

from uow.schedules.cron import Missed
from uow.schedules.timetable import Timetable

LIMIT = 100
"""Ticks of one schedule that are run at once; the rest a moment later."""

TAKEOVER_SECONDS = 30.0
"""A tick that is later than this was missed, also if there was a worker: all of them stood still,
or Postgres was away. Another leader takes over within eight seconds."""

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


def due(
    table: Timetable, missed: Missed, next_tick: datetime, now: datetime, on_time: datetime
) -> Due:
    """Decide about the ticks from `next_tick` to `now`: those before `on_time` were missed.

    The time that is missed is not walked through, however long it is: only the ticks that are run
    are looked for, and the last one that was missed.
    """
    if missed == "all" or next_tick >= on_time:
        ticks = [next_tick, *itertools.islice(table.ticks(next_tick, now), LIMIT - 1)]
        return Due(ticks, None, table.next_after(ticks[-1]))
    ticks = list(itertools.islice(table.ticks(on_time - MOMENT, now), LIMIT))
    following = table.next_after(ticks[-1] if ticks else now)
    last = table.last_until(on_time - MOMENT, after=next_tick) or next_tick
    if missed == "skip":
        return Due(ticks, (next_tick, last), following)
    before = table.last_until(last - MOMENT, after=next_tick) or next_tick
    return Due([last, *ticks], None if last == next_tick else (next_tick, before), following)


def on_time_from(now: datetime, attended_since: datetime, grace: float) -> datetime:
    """The moment from which on a tick that is due counts as on time, if late.

    Args:
        attended_since: Since then there always was a worker, though it may not have led.
        grace: Seconds by which a tick may be late without being missed, worker or not.
    """
    late = min((now - attended_since).total_seconds(), TAKEOVER_SECONDS)
    return now - timedelta(seconds=max(late, grace))
