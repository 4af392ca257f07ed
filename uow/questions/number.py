"""A number, and how far it is to be believed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Literal, Self

from uow.db.durations import quantile
from uow.db.rates import Span

Source = Literal["exact", "capped", "rollup", "estimate"]
"""``exact``: counted now, in the rows themselves. ``capped``: counted there, and there may be more,
as it was not looked any further. ``rollup``: added up from what processes have counted; half a
minute old, without the last seconds of a process that was killed. ``estimate``: what a server
believes."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number with its source."""

    value: int | float
    source: Source

    def __str__(self) -> str:
        if self.source == "estimate":
            return f"~{self.value:,}"
        return f"{self.value:,}+" if self.source == "capped" else f"{self.value:,}"


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of durations, in seconds; None: there are none.

    Attributes:
        source: From the rollup each is within 19 %.
    """

    p50: float | None
    p95: float | None
    p99: float | None
    source: Source

    @classmethod
    def of_buckets(cls, buckets: Sequence[int]) -> Self:
        """Of a histogram of the rollup."""
        p50, p95, p99 = (quantile(buckets, share) for share in (0.5, 0.95, 0.99))
        return cls(p50, p95, p99, "rollup")

    @classmethod
    def of_values(cls, values: Iterable[float], source: Source) -> Self:
        """Of durations that were read one by one."""
        ordered = sorted(values)
        if not ordered:
            return cls(None, None, None, source)
        last = len(ordered) - 1
        p50, p95, p99 = (ordered[round(last * share)] for share in (0.5, 0.95, 0.99))
        return cls(p50, p95, p99, source)


@dataclass(frozen=True, slots=True)
class Rates:
    """What has ended in a span of time.

    Attributes:
        since: Its beginning.
        until: Its end, not included.
        ended: Attempts by outcome; of a user settled tasks by state.
        per_second: All of them.
        waited: Seconds from when a task was due until an attempt began. Those of an hour are those
            of the present hour and the one before, of UTC.
        ran: Seconds from there until its outcome was written.
        source: Of all of them.
    """

    span: Span
    since: datetime
    until: datetime
    ended: dict[str, int]
    per_second: float
    waited: Percentiles
    ran: Percentiles
    source: Source


def added(histograms: Iterable[Sequence[int | None]]) -> list[int]:
    """Histograms, bucket by bucket."""
    total: list[int] = []
    for one in histograms:
        total = [a + (b or 0) for a, b in zip_longest(total, one, fillvalue=0)]
    return total
