"""When a schedule is due, against an oracle that knows nothing but the clocks, minute by minute."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uow.schedules.timetable import Timetable, ticks_every, timetable
from uow.schedules.wallclock import local_wall_clock, wall_clock

MINUTE = timedelta(minutes=1)

ZONES = [
    "Africa/Casablanca",  # back for Ramadan, and forward after it
    "America/New_York",
    "America/Santiago",  # at midnight, south of the equator
    "Antarctica/Troll",  # by two hours
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Berlin",
    "Europe/Dublin",  # "winter time" is the exception
    "Pacific/Chatham",  # at a quarter to three
    "America/Havana",  # at midnight
    "Asia/Kolkata",  # never, and half an hour off
]

EXPRESSIONS = [
    "0 0 * * *",
    "0 9 * * mon-fri",
    "15 1 * * *",
    "30 2 * * *",
    "0,20,40 1-3 * * *",
    "59 23 * * sun",
    "30 2 29 2 *",
    "0 0 1 * mon",
    "5 0,3 13 * fri",
    "0 * * * *",
    "30 */6 * * *",
    "*/15 2 * * *",
    "*/30 * 25-31 3,10 *",
    "45 * * 4,9,10 sun",
]

# -- the oracle: a parser of its own, and a walk through every minute ------------------------------

LIMITS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def numbers(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            first, last = str(low), str(high)
        elif not last:
            last = str(high) if step else first
        begin, end = (DAYS.index(x) if x in DAYS else int(x) for x in (first, last))
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


class Oracle:
    def __init__(self, expression: str) -> None:
        self.fields = expression.split()
        self.sets = [numbers(text, *span) for text, span in zip(self.fields, LIMITS, strict=True)]
        self.ticks: list[datetime] = []
        self.real = self.fields[0][0] == "*" or self.fields[1][0] == "*"

    def means(self, wall: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.sets
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        by_day = wall.day in days
        by_weekday = bool({wall.isoweekday(), wall.isoweekday() % 7} & weekdays)
        if self.fields[2][0] == "*" or self.fields[4][0] == "*":
            return by_day and by_weekday
        return by_day or by_weekday


def walk(zone: str, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Every minute, and what the clocks show."""
    moment, tz = since, ZoneInfo(zone)
    while moment <= until:
        yield moment, moment.astimezone(tz).replace(tzinfo=None, fold=0)
        moment += MINUTE


def foresee(expressions: list[str], zone: str, since: datetime, until: datetime) -> list[Oracle]:
    oracles = [Oracle(expression) for expression in expressions]
    of_minute = [[one for one in oracles if minute in one.sets[0]] for minute in range(60)]
    latest = datetime(1, 1, 1)  # noqa: DTZ001 - a wall time
    for moment, wall in walk(zone, since - 240 * MINUTE, until):
        again = wall <= latest  # put back
        meant = [one for one in of_minute[wall.minute] if not (again and not one.real)]
        meant = [one for one in meant if one.means(wall)]
        if wall > latest + MINUTE and latest.year > 1:  # put forward
            left_out = [latest + n * MINUTE for n in range(1, (wall - latest) // MINUTE)]
            meant += [
                one
                for one in oracles
                if one not in meant and not one.real and any(map(one.means, left_out))
            ]
        for oracle in meant if moment > since else ():
            oracle.ticks.append(moment)
        latest = max(wall, latest)
    return oracles


# -- against it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ZONES[:8])
@pytest.mark.timeout(120)
def test_two_years_have_exactly_the_ticks_of_the_rule(zone: str) -> None:
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 3, 1, tzinfo=UTC)
    for oracle in foresee(EXPRESSIONS, zone, since, until):
        expression = " ".join(oracle.fields)
        assert list(timetable(expression, zone).ticks(since, until)) == oracle.ticks, expression


def changes(zone: str) -> list[datetime]:
    clock, found = wall_clock(zone), []
    moment, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)
    while (change := clock.change_within(moment, end)) is not None:
        found.append(change.at)
        moment = change.at
    return found or [datetime(2026, 3, 29, 1, tzinfo=UTC)]


CHANGES = [(zone, at) for zone in ZONES for at in changes(zone)]


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, high)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    one = st.one_of(number.map(str), span, step)
    return st.one_of(
        st.just("*"), one, st.lists(number.map(str), min_size=2, max_size=4).map(",".join)
    )


@settings(deadline=None, max_examples=250)
@given(
    change=st.sampled_from(CHANGES),
    fields=st.tuples(field(0, 59), field(0, 23), st.just("*"), st.just("*"), st.just("*")),
)
def test_any_expression_around_any_change_of_the_clocks(
    change: tuple[str, datetime], fields: tuple[str, ...]
) -> None:
    zone, at = change
    since, until, expression = at - timedelta(hours=6), at + timedelta(hours=30), " ".join(fields)
    (oracle,) = foresee([expression], zone, since, until)
    assert list(timetable(expression, zone).ticks(since, until)) == oracle.ticks


@settings(deadline=None, max_examples=100)
@given(
    change=st.sampled_from(CHANGES),
    minutes=st.integers(-300, 300),
    expression=st.sampled_from(EXPRESSIONS),
)
def test_where_one_asks_from_makes_no_difference(
    change: tuple[str, datetime], minutes: int, expression: str
) -> None:
    zone, at = change
    table, moment = timetable(expression, zone), at + minutes * MINUTE
    following = table.next_after(moment)
    assert following is not None
    assert following > moment
    assert table.next_after(moment + timedelta(microseconds=1)) == following
    assert table.next_after(following - timedelta(seconds=1)) == following


# -- said once more, with names --------------------------------------------------------------------


def ticks(expression: str, zone: str, since: str, until: str) -> list[str]:
    span = (datetime.fromisoformat(moment) for moment in (since, until))
    return [f"{tick:%d %H:%M}" for tick in timetable(expression, zone).ticks(*span)]


def test_a_time_that_is_left_out_runs_at_the_moment_of_the_change() -> None:
    span = ("2026-03-28T12:00Z", "2026-03-30T12:00Z")
    assert ticks("30 2 * * *", "Europe/Berlin", *span) == ["29 01:00", "30 00:30"]
    assert ticks("15,30,45 2 * * *", "Europe/Berlin", *span)[:2] == ["29 01:00", "30 00:15"]


def test_a_time_that_is_shown_twice_runs_the_first_time() -> None:
    span = ("2026-10-24T12:00Z", "2026-10-26T12:00Z")
    assert ticks("30 2 * * *", "Europe/Berlin", *span) == ["25 00:30", "26 01:30"]


def test_every_quarter_of_an_hour_neither_bursts_nor_pauses() -> None:
    for month, day in ((3, 29), (10, 25)):
        since = datetime(2026, month, day, tzinfo=UTC)
        found = list(
            timetable("*/15 * * * *", "Europe/Berlin").ticks(since, since + 8 * 60 * MINUTE)
        )
        assert {b - a for a, b in itertools.pairwise(found)} == {15 * MINUTE}


def test_a_repeated_hour_that_is_named_with_a_star_runs_again() -> None:
    span = ("2026-11-01T00:00Z", "2026-11-02T00:00Z")
    expected = ["01 05:00", "01 05:30", "01 06:00", "01 06:30"]
    assert ticks("*/30 1 1 11 *", "America/New_York", *span) == expected


def test_seconds_stand_in_front() -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    found = timetable("*/20 0 12 * * *").ticks(since, since + timedelta(days=1))
    assert [tick.strftime("%H:%M:%S") for tick in found] == ["12:00:00", "12:00:20", "12:00:40"]


@pytest.mark.parametrize("seconds", [1, 90, 86_400, 7 * 86_400 + 1])
def test_every_keeps_its_distance_whatever_the_clocks_do(seconds: int) -> None:
    table = timetable(ticks_every(timedelta(seconds=seconds)), "Europe/Berlin")
    first = table.next_after(datetime(2026, 3, 29, tzinfo=UTC))
    assert first is not None
    found = list(itertools.islice(table.ticks(first, first + timedelta(days=400)), 50))
    assert {b - a for a, b in itertools.pairwise(found)} == {timedelta(seconds=seconds)}
    assert first.timestamp() % seconds == 0


@pytest.mark.parametrize("name", ["@yearly", "@monthly", "@weekly", "@daily", "@hourly", "@Daily "])
def test_names_are_expressions(name: str) -> None:
    assert timetable(name).next_after(datetime(2026, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("expression", "zone", "reason"),
    [
        ("61 * * * *", "UTC", "bad minute"),
        ("* * * *", "UTC", "4 fields"),
        ("", "UTC", "0 fields"),
        ("@reboot", "UTC", "known names are @yearly"),
        ("0 0 30 2 *", "UTC", "bad day-of-month"),
        ("@every 0 s", "UTC", "known names"),
        ("* * * * *", "Mars/Olympus", "no time zone 'Mars/Olympus'"),
        ("* * * * *", "../../etc/passwd", "no time zone"),
        ("* * * * *", "", "no time zone"),
    ],
)
def test_what_is_wrong_is_named_with_the_reason(expression: str, zone: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        timetable(expression, zone)


@pytest.mark.parametrize("wrong", [timedelta(0), timedelta(seconds=0.5), timedelta(days=400)])
def test_an_interval_is_whole_seconds_up_to_a_year(wrong: timedelta) -> None:
    with pytest.raises(ValueError, match="whole number of seconds"):
        ticks_every(wrong)


def test_expressions_are_said_in_words() -> None:
    said = timetable("0 9 * * mon-fri", "Europe/Berlin").explain()
    assert said == "At 09:00 on Monday through Friday (Europe/Berlin)"
    assert timetable(ticks_every(timedelta(minutes=90))).explain().startswith("Every 1:30:00")


@pytest.mark.parametrize(
    "table", [timetable("* * * * * *"), timetable("0 9 1 1 *", "Asia/Kolkata")]
)
def test_the_last_tick_is_found_without_a_walk_through_all(table: Timetable) -> None:
    now = datetime(2026, 6, 1, 12, 0, 0, 5, tzinfo=UTC)
    last = table.last_until(now, after=now - timedelta(days=3650))
    assert last is not None
    assert last <= now
    following = table.next_after(last)
    assert following is not None
    assert following > now
    assert table.last_until(last, after=last) is None


def test_the_machines_own_clocks_are_a_zone_with_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    summer, winter = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    clock = local_wall_clock()
    assert clock.offset(summer) - clock.offset(winter) == timedelta(hours=1)
    monkeypatch.delenv("TZ")
    assert local_wall_clock().offset(summer) is not None
