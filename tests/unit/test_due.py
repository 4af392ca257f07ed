"""Which ticks are run and which were missed, for every policy."""

from datetime import UTC, datetime, timedelta

import pytest

from worker.execution.cron import Missed
from worker.execution.due import LIMIT, Due, due
from worker.execution.timetable import timetable

HOURLY = timetable("0 * * * *")
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(*hours: int) -> list[datetime]:
    return [NOON.replace(hour=hour) for hour in hours]


@pytest.mark.parametrize("missed", ["latest", "all", "skip"])
@pytest.mark.parametrize("late", [0.0, 0.001, 14.9])
def test_a_tick_that_is_late_within_the_grace_is_run_by_every_policy(
    missed: Missed, late: float
) -> None:
    found = due(HOURLY, missed, 15.0, NOON, NOON + timedelta(seconds=late))
    assert found == Due([NOON], None, NOON + HOUR)


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
    found = due(HOURLY, missed, 15.0, *at(9), NOON - timedelta(minutes=20))
    assert found.ticks == ticks
    assert found.missed == (None if lost is None else tuple(at(*lost)))
    assert found.following == NOON


@pytest.mark.parametrize(
    ("missed", "ticks", "lost"),
    [
        ("latest", at(12), (9, 11)),
        ("all", at(9, 10, 11, 12), None),
        ("skip", at(12), (9, 11)),
    ],
)
def test_what_is_on_time_again_is_the_latest(
    missed: Missed, ticks: list[datetime], lost: tuple[int, int] | None
) -> None:
    found = due(HOURLY, missed, 15.0, *at(9), NOON + timedelta(seconds=3))
    assert found.ticks == ticks
    assert found.missed == (None if lost is None else tuple(at(*lost)))
    assert found.following == NOON + HOUR


def test_a_single_tick_that_was_missed_is_run_and_nothing_is_lost() -> None:
    found = due(HOURLY, "latest", 15.0, NOON, NOON + timedelta(minutes=20))
    assert found == Due([NOON], None, NOON + HOUR)


def test_every_second_for_ten_years_is_not_walked_through() -> None:
    now = NOON + timedelta(days=3650)
    found = due(timetable("* * * * * *"), "latest", 15.0, NOON, now)
    assert found.ticks == [now - timedelta(seconds=n) for n in range(15, -1, -1)]
    assert found.missed == (NOON, now - timedelta(seconds=16))
    found = due(timetable("* * * * * *"), "skip", 0.0, NOON, now + timedelta(seconds=0.5))
    assert found == Due([], (NOON, now), now + timedelta(seconds=1))


def test_all_of_very_many_are_run_in_portions() -> None:
    every_second, now, seen = timetable("* * * * * *"), NOON + timedelta(seconds=249.5), []
    following: datetime | None = NOON
    while following is not None and following <= now:
        found = due(every_second, "all", 0.0, following, now)
        assert len(found.ticks) <= LIMIT
        seen += found.ticks
        following = found.following
    assert seen == [NOON + timedelta(seconds=n) for n in range(250)]


def test_a_tick_of_an_earlier_expression_is_run_and_the_new_one_goes_on() -> None:
    found = due(HOURLY, "latest", 15.0, NOON - timedelta(seconds=5), NOON + timedelta(seconds=1))
    assert found.ticks == [NOON - timedelta(seconds=5), NOON]
