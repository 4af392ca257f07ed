"""Plots: where on a drawing numbers lie."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from uow.api.pages import plots
from uow.api.pages.plots import FLOOR, LEFT, RIGHT, TOP, Minutes
from uow.questions.loads import RatePoint
from uow.questions.number import Percentiles

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


def point(ago: int, waited: float | None = 0.1, now: datetime = NOW, **ended: int) -> RatePoint:
    taken = Percentiles(waited, waited, waited, "rollup")
    return RatePoint(now - timedelta(minutes=ago), ended, taken, taken)


def this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def places(path: str) -> list[tuple[float, float]]:
    """Where each bar, or part of a line, begins."""
    return [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path)]


def test_what_is_older_than_the_plot_is_left_out() -> None:
    now = this_minute()
    minutes = Minutes.until_now([point(ago, now=now) for ago in (200, 29, 0)], 30)
    assert [minutes.place(one.at) for one in minutes.points] in (
        [0, 29],
        [28],
    )  # a minute has begun


def test_a_minute_ahead_by_another_clock_is_the_last_one() -> None:
    minutes = Minutes.until_now([point(-3, now=this_minute())], 30)
    assert [minutes.place(one.at) for one in minutes.points] == [29]


def test_bars_stand_upon_each_other_and_stay_inside() -> None:
    minutes = Minutes([point(1, completed=60, failed=30), point(0, completed=100)], 60, NOW)
    drawn = plots.ended_plot(minutes)
    good, later, bad, rest = drawn.shapes
    assert (later.path, rest.path) == ("", "")
    assert places(good.path)[0][1] == FLOOR
    ((x, bottom),) = places(bad.path)
    assert LEFT < x < RIGHT
    assert bottom == pytest.approx(FLOOR - (FLOOR - TOP) * 0.6, abs=0.1)
    assert [mark.label for mark in drawn.up] == ["0", "50", "100"]
    assert drawn.title.startswith("190 attempts ended in the last 1 h, by minute; at most 100")


def test_an_outcome_that_nobody_has_thought_of_is_not_lost() -> None:
    drawn = plots.ended_plot(Minutes([point(0, vanished=7)], 60, NOW))
    assert drawn.shapes[-1].path
    assert drawn.title.startswith("7 attempts")


def test_a_line_is_interrupted_where_nothing_ended() -> None:
    those = [point(9, 0.01), point(8, 0.1), point(5, 1.0), point(4, None), point(3, 0.1)]
    drawn = plots.waits_plot(Minutes(those, 60, NOW))
    assert [mark.label for mark in drawn.up] == ["10 ms", "100 ms", "1 s"]
    for shape in drawn.shapes:
        assert [y for _, y in places(shape.path)] == [FLOOR, TOP, (FLOOR + TOP) / 2]


@pytest.mark.parametrize("seconds", [0.00025, 0.1, 1.0, 1000.0, 200_000.0])
def test_whatever_it_takes_there_is_a_scale(seconds: float) -> None:
    drawn = plots.runs_plot(Minutes([point(0, seconds)], 60, NOW))
    assert 2 <= len(drawn.up) <= 6
    assert all(TOP <= mark.at <= FLOOR for mark in drawn.up)
    ((_, y),) = places(drawn.shapes[0].path)
    assert TOP <= y <= FLOOR


def test_nothing_is_drawn_of_nothing() -> None:
    minutes = Minutes.until_now([], 180)
    for drawn in (plots.ended_plot(minutes), plots.failed_plot(minutes), plots.waits_plot(minutes)):
        assert not any(shape.path for shape in drawn.shapes)
        assert [mark.label for mark in drawn.across] == ["3 h ago", "2 h ago", "1 h ago", "now"]
    assert plots.spark([], "none").path == ""
    assert plots.shares([("busy", 0)], 0) == [("busy", 0.0, 0.0)]


def test_parts_of_a_bar_lie_side_by_side() -> None:
    assert plots.shares([("a", 1), ("b", 3)], 8) == [("a", 0.0, 12.5), ("b", 12.5, 37.5)]
