"""Which ticks are run and which were missed, for every policy."""

from datetime import UTC, datetime, timedelta

import pytest

from uow.schedules.cron import Missed
from uow.schedules.due import LIMIT, TAKEOVER_SECONDS, Due, due, on_time_from
from uow.schedules.timetable import timetable

HOURLY = timetable("0 * * * *")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(*hours: int) -> list[datetime]:
    return [NOON.replace(hour=hour) for hour in hours]


@pytest.mark.parametrize("missed", ["latest", "all", "skip"])
def test_a_tick_that_is_on_time_is_run_by_every_policy(missed: Missed) -> None:
    now = NOON + timedelta(seconds=7)
    assert due(HOURLY, missed, NOON, now, NOON) == Due([NOON], None, NOON + HOUR)


@pytest.mark.parametrize(
    ("missed", "ticks", "lost"),
    [
        ("latest", at(11), (9, 10)),
        ("all", at(9, 10, 11), None),
        ("skip", [], (9, 11)),
    ],
)
def test_after_an_outage_over_three_ticks_the_policy_decides(
    missed: Missed, ticks: list[datetime], lost: tuple[int, int] | None
) -> None:
    now = NOON - timedelta(minutes=20)
    found = due(HOURLY, missed, at(9)[0], now, now)
    assert found.ticks == ticks
    assert found.missed == (None if lost is None else tuple(at(*lost)))
    assert found.following == NOON


@pytest.mark.parametrize(
    ("missed", "ticks", "lost"),
    [
        ("latest", at(11, 12), (9, 10)),
        ("all", at(9, 10, 11, 12), None),
        ("skip", at(12), (9, 11)),
    ],
)
def test_what_is_on_time_again_is_run_beside_the_latest_that_was_missed(
    missed: Missed, ticks: list[datetime], lost: tuple[int, int] | None
) -> None:
    now = NOON + timedelta(seconds=3)
    found = due(HOURLY, missed, at(9)[0], now, now - timedelta(seconds=5))
    assert found.ticks == ticks
    assert found.missed == (None if lost is None else tuple(at(*lost)))
    assert found.following == NOON + HOUR


def test_a_single_tick_that_was_missed_is_run_and_nothing_is_lost() -> None:
    now = NOON + timedelta(minutes=20)
    assert due(HOURLY, "latest", NOON, now, now) == Due([NOON], None, NOON + HOUR)


def test_every_second_for_ten_years_is_not_walked_through() -> None:
    now = NOON + timedelta(days=3650)
    every_second, ten = timetable("* * * * * *"), timedelta(seconds=10)
    found = due(every_second, "latest", NOON, now, now - ten)
    assert found.ticks == [now - timedelta(seconds=n) for n in range(11, -1, -1)]
    assert found.missed == (NOON, now - timedelta(seconds=12))
    later = now + timedelta(seconds=0.5)
    found = due(every_second, "skip", NOON, later, later)
    assert found == Due([], (NOON, now), now + timedelta(seconds=1))


def test_all_of_very_many_are_run_in_portions() -> None:
    every_second, now, seen = timetable("* * * * * *"), NOON + timedelta(seconds=249.5), []
    following: datetime | None = NOON
    while following is not None and following <= now:
        found = due(every_second, "all", following, now, now)
        assert len(found.ticks) <= LIMIT
        seen += found.ticks
        following = found.following
    assert seen == [NOON + timedelta(seconds=n) for n in range(250)]


def test_a_tick_of_an_earlier_expression_is_run_and_the_new_one_goes_on() -> None:
    earlier = NOON - timedelta(seconds=5)
    found = due(HOURLY, "latest", earlier, NOON + timedelta(seconds=1), earlier)
    assert found.ticks == [earlier, NOON]


@pytest.mark.parametrize(
    ("attended", "grace", "late"),
    [
        (0.0, 1.0, 1.0),  # a worker that has just started
        (8.0, 1.0, 8.0),  # one that was there while another led
        (3600.0, 1.0, TAKEOVER_SECONDS),  # all stood still
        (3600.0, 120.0, 120.0),  # the schedule asks for more
        (0.0, 0.0, 0.0),
    ],
)
def test_a_tick_at_which_a_worker_was_there_is_late_and_not_missed(
    attended: float, grace: float, late: float
) -> None:
    since = NOON - timedelta(seconds=attended)
    assert on_time_from(NOON, since, grace) == NOON - timedelta(seconds=late)
