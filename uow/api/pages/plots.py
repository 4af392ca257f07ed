"""The geometry of plots: numbers in, places on a drawing out. The template draws them.

A drawing is in units of its own, which a browser stretches to whatever width there is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from uow.questions.loads import RatePoint

WIDTH: Final = 600
HEIGHT: Final = 190
LEFT: Final = 72
RIGHT: Final = 594
TOP: Final = 14
FLOOR: Final = 158
"""Where what is zero lies."""

SPARK_HEIGHT: Final = 20
BAR: Final = 100

MINUTE: Final = timedelta(minutes=1)

OUTCOMES: Final[tuple[tuple[str, str, tuple[str, ...]], ...]] = (
    ("good", "completed", ("completed",)),
    ("later", "to run again", ("retry", "snoozed", "handed back", "overtaken")),
    ("bad", "failed", ("failed",)),
    ("rest", "cancelled", ("cancelled",)),
)
"""How a plot tells attempts apart: its colour, its words, and the outcomes; from below."""

PERCENTILES: Final = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on an axis, with what stands there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What is drawn of one series: `path` is in the language of SVG."""

    kind: str
    label: str
    path: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot over time.

    Attributes:
        title: What it shows, in a sentence: for who cannot see it.
        across: Moments, on the floor.
        up: Heights, at the left.
        outlined: Its shapes are lines and not areas.
    """

    title: str
    across: Sequence[Mark]
    up: Sequence[Mark]
    shapes: Sequence[Shape]
    outlined: bool = False


@dataclass(frozen=True, slots=True)
class Spark:
    """A small plot in a line of a table."""

    title: str
    width: int
    path: str


@dataclass(frozen=True, slots=True)
class Minutes:
    """The minutes of a plot.

    Args:
        points: Those in which something ended.
        last: How many there are.
        now: The present moment.
    """

    points: Sequence[RatePoint]
    last: int
    now: datetime

    @classmethod
    def until_now(cls, points: Sequence[RatePoint], last: int) -> "Minutes":
        """The latest ones; those before are left out."""
        now = datetime.now(UTC)
        ahead = [one.at for one in points if one.at > now]  # by a clock of another machine
        minutes = cls((), last, max([now, *ahead]))
        shown = [one for one in points if 0 <= minutes.place(one.at) < last]
        return cls(shown, last, minutes.now)

    def place(self, at: datetime) -> int:
        """The number of a minute, the first being 0."""
        newest = self.now.replace(second=0, microsecond=0)
        return self.last - 1 - round((newest - at) / MINUTE)

    @property
    def step(self) -> float:
        """The width of a minute."""
        return (RIGHT - LEFT) / self.last

    def marks(self) -> list[Mark]:
        """How long ago: in no zone of anybody's."""
        parts = 3
        ago = [self.last * part // parts for part in range(parts, -1, -1)]
        return [
            Mark(round(RIGHT - (RIGHT - LEFT) * back / self.last, 1), _ago(back)) for back in ago
        ]


def ended_plot(minutes: Minutes) -> Plot:
    """How many attempts ended in which way: bars upon each other."""
    counts = [_counted(one.ended) for one in minutes.points]
    most = _round_up(max((sum(one) for one in counts), default=0))
    shapes = []
    for series, (kind, label, _) in enumerate(OUTCOMES):
        bars = [
            _bar(minutes, point.at, sum(each[:series]), each[series], most)
            for point, each in zip(minutes.points, counts, strict=True)
            if each[series]
        ]
        shapes.append(Shape(kind, label, "".join(bars)))
    total = sum(map(sum, counts))
    title = f"{total:,} attempts ended in the last {_span(minutes.last)}, by minute; at most "
    title += f"{max(map(sum, counts), default=0):,} in one"
    return Plot(title, minutes.marks(), _heights(most), shapes)


def failed_plot(minutes: Minutes) -> Plot:
    """How many attempts failed, and were not to be tried again."""
    counts = [one.ended.get("failed", 0) for one in minutes.points]
    most = _round_up(max(counts, default=0))
    bars = [
        _bar(minutes, point.at, 0, count, most)
        for point, count in zip(minutes.points, counts, strict=True)
        if count
    ]
    title = f"{sum(counts):,} attempts failed in the last {_span(minutes.last)}, by minute"
    return Plot(title, minutes.marks(), _heights(most), [Shape("bad", "failed", "".join(bars))])


def waits_plot(minutes: Minutes) -> Plot:
    """How long tasks waited."""
    return _durations(minutes, "waited", lambda point, which: getattr(point.waited, which))


def runs_plot(minutes: Minutes) -> Plot:
    """How long attempts ran."""
    return _durations(minutes, "ran", lambda point, which: getattr(point.ran, which))


def spark(counts: Sequence[int], what: str) -> Spark:
    """A small plot of numbers, the oldest first."""
    most = max(counts, default=0)
    step = 3
    bars = [
        f"M{step * place} {SPARK_HEIGHT}v-{max(SPARK_HEIGHT * count / most, 1):.1f}h{step - 1}"
        f"V{SPARK_HEIGHT}z"
        for place, count in enumerate(counts)
        if count
    ]
    return Spark(f"{what}; at most {most:,}", step * len(counts), "".join(bars))


def shares(parts: Sequence[tuple[str, float]], most: float) -> list[tuple[str, float, float]]:
    """Parts of a bar side by side: kind, beginning, width; `most` fills it."""
    found, at = [], 0.0
    for kind, count in parts:
        width = BAR * count / most if most else 0.0
        found.append((kind, round(at, 2), round(width, 2)))
        at += width
    return found


def _durations(minutes: Minutes, what: str, read: Callable[[RatePoint, str], float | None]) -> Plot:
    values = {which: [read(one, which) for one in minutes.points] for which in PERCENTILES}
    known = [value for each in values.values() for value in each if value]
    low = math.floor(math.log10(min(known, default=0.001)))
    high = max(math.ceil(math.log10(max(known, default=1.0))), low + 1)
    shapes = [Shape(which, which, _line(minutes, values[which], low, high)) for which in values]
    longest = max((value for value in values["p99"] if value), default=None)
    title = f"How long tasks {what} in the last {_span(minutes.last)}, by minute: p50, p95, p99"
    title += "; none ended" if longest is None else f"; p99 at most {longest:.3g} s"
    step = 1 if high - low <= 4 else 2
    up = [
        Mark(_height((power - low) / (high - low)), _seconds(10.0**power))
        for power in range(low, high + 1, step)
    ]
    return Plot(title, minutes.marks(), up, shapes, outlined=True)


def _line(minutes: Minutes, values: Sequence[float | None], low: int, high: int) -> str:
    """On a scale of powers of ten; where a minute has nothing, the line is interrupted."""
    said, before = [], None
    for point, value in zip(minutes.points, values, strict=True):
        if not value:
            continue
        place = minutes.place(point.at)
        x = LEFT + (place + 0.5) * minutes.step
        y = _height((math.log10(value) - low) / (high - low))
        follows = before is not None and place == before + 1
        said.append(f"{'L' if follows else 'M'}{x:.1f} {y:.1f}{'' if follows else 'h.1'}")
        before = place
    return "".join(said)


def _counted(ended: Mapping[str, int]) -> list[int]:
    """By the series of `OUTCOMES`; what is of none of them is with the last."""
    counts = [sum(ended.get(one, 0) for one in those) for _, _, those in OUTCOMES]
    counts[-1] += sum(ended.values()) - sum(counts)
    return counts


def _bar(minutes: Minutes, at: datetime, below: int, count: int, most: float) -> str:
    x = LEFT + minutes.place(at) * minutes.step
    bottom, top = _height(below / most), _height((below + count) / most)
    width = minutes.step * 0.85
    return f"M{x:.1f} {bottom:.1f}V{top:.1f}h{width:.1f}V{bottom:.1f}z"


def _height(share: float) -> float:
    return round(FLOOR - (FLOOR - TOP) * share, 1)


def _heights(most: float) -> list[Mark]:
    return [Mark(_height(share), f"{most * share:,.3g}") for share in (0, 0.5, 1)]


def _round_up(most: float) -> float:
    """A number that is easily halved."""
    if most <= 2:
        return 2
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= most)


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 1 else f"{value * 1000:g} ms"


def _ago(minutes: int) -> str:
    if not minutes:
        return "now"
    whole = minutes % 60 == 0
    return f"{minutes // 60} h ago" if whole else f"{minutes} min ago"


def _span(minutes: int) -> str:
    return _ago(minutes).removesuffix(" ago")
