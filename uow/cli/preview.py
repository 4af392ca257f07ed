"""``worker cron preview``: an expression in words, its next runs, a span of its ticks."""

import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import typer

from uow.clock import utcnow
from uow.errors import InvalidSchedule
from uow.schedules.timetable import Timetable, timetable
from uow.schedules.wallclock import SECOND, WallClock, wall_clock

SHOWN = 5

AROUND = 3
"""Runs before a clock change, and after it."""

AHEAD = timedelta(days=366)
"""How far a clock change is looked for."""

MOMENT = timedelta(microseconds=1)


def explain(expression: str, timezone: str, *, as_json: bool) -> None:
    """Print the words, the next runs, and those around the next clock change."""
    table, clock, now = _timetable(expression, timezone), wall_clock(timezone), utcnow()
    coming = list(itertools.islice(table.ticks(now, now + 50 * AHEAD), SHOWN))
    if as_json:
        _print_json(coming)
        return
    typer.echo(table.explain())
    typer.echo("\nThe next runs:")
    _print(coming, clock)
    change = clock.change_within(now, now + AHEAD)
    if change is None:
        typer.echo(f"\nThe clocks of {timezone} are not changed within a year.")
        return
    typer.echo(
        f"\nAround the next clock change in {timezone}, from UTC{_offset(change.before)} to "
        f"UTC{_offset(change.after)} at {in_utc(change.at)}:"
    )
    _print(_around(table, change.at), clock)


def print_span(
    expression: str, timezone: str, since: str | None, until: str | None, *, as_json: bool
) -> None:
    """Print every tick from `since` on and before `until`.

    Raises:
        InvalidSchedule: The expression or the zone is wrong, or the span is not one.
    """
    table = _timetable(expression, timezone)
    if since is None or until is None:
        raise InvalidSchedule("a span has --from and --until")
    span = _moment("--from", since), _moment("--until", until)
    if span[0] > span[1]:
        raise InvalidSchedule(f"--from={since} is later than --until={until}")
    ticks = table.ticks(span[0] - MOMENT, span[1] - MOMENT)
    if as_json:
        _print_json(ticks)
    else:
        _print(ticks, wall_clock(timezone))


def in_zone(moment: datetime, clock: WallClock) -> str:
    """A moment as the clocks of a zone show it."""
    return f"{moment.astimezone(clock.zone):%a %Y-%m-%d %H:%M:%S %Z}"


def in_utc(moment: datetime) -> str:
    """A moment in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _around(table: Timetable, change: datetime) -> list[datetime]:
    before: list[datetime] = []
    last = change
    while len(before) < AROUND:
        found = table.last_until(last - MOMENT, after=change - AHEAD)
        if found is None:
            break
        before.insert(0, found)
        last = found
    return before + list(itertools.islice(table.ticks(change - MOMENT, change + AHEAD), AROUND))


def _print(ticks: Iterable[datetime], clock: WallClock) -> None:
    for tick in ticks:
        typer.echo(f"  {in_zone(tick, clock):30} {in_utc(tick)}")


def _print_json(ticks: Iterable[datetime]) -> None:
    typer.echo(json.dumps([f"{tick:%Y-%m-%dT%H:%M:%SZ}" for tick in ticks]))


def _offset(offset: timedelta) -> str:
    sign = "-" if offset < timedelta(0) else "+"
    hours, minutes = divmod(abs(offset) // SECOND // 60, 60)
    return f"{sign}{hours:02}:{minutes:02}"


def _timetable(expression: str, timezone: str) -> Timetable:
    try:
        return timetable(expression, timezone)
    except ValueError as error:
        raise InvalidSchedule(str(error)) from None


def _moment(option: str, given: str) -> datetime:
    """A moment; without a zone it is meant in UTC."""
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise InvalidSchedule(f"{option}={given} is no moment, such as 2030-01-31T12:00Z") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
