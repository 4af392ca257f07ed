"""What attempts have failed by, of which task function, and when: a table of numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.error_matrix import SummedCell, read_error_matrix
from uow.questions.number import Number

COLUMNS = 25
"""Times that are told apart, at most: the present hour, and a day before it."""

MOST_BY_HOUR = 8 * 24
"""Hours that are added up as such; of a longer time, days are."""

MOST_ROWS = 50
"""Pairs of type and task function: those with the most failures. Each has a link in every column:
with 200 of them a page is a megabyte, and takes longer to write than all else to ask."""


@dataclass(frozen=True, slots=True)
class FailureTime:
    """A column: from `since` on, until before `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Failures of one type, of one task function.

    Attributes:
        counts: In each time, the latest first.
    """

    error: str
    name: str
    counts: Sequence[int]
    total: Number


@dataclass(frozen=True, slots=True)
class FailureMatrix:
    """Attempts that failed: also those that were tried again.

    Attributes:
        times: The columns, the latest first.
        hours: How long each is.
        rows: The most frequent first.
        by_error: Of the rows, the most frequent first.
        by_name: The same.
        total: Of all, also of pairs that are not among the rows.
        left_out: How many pairs those are.
    """

    times: list[FailureTime]
    hours: int
    rows: list[FailureRow]
    by_error: list[tuple[str, Number]]
    by_name: list[tuple[str, Number]]
    total: Number
    left_out: int


async def failure_matrix(
    db: Database, hours: int, *, error: str | None = None, name: str | None = None
) -> FailureMatrix:
    """The failures of the last hours (of UTC), the present one included, with one statement.

    More than `MOST_BY_HOUR` are rounded up to whole days of UTC.

    Args:
        error: Of this type alone.
        name: Of this task function alone.
    """
    by_day = hours > MOST_BY_HOUR
    units = hours // 24 + 1 if by_day else hours  # of days also the one that has begun
    width = -(-units // COLUMNS)
    columns = -(-units // width)
    async with bounded_reading(db) as reading:
        cells = await read_error_matrix(
            reading, "day" if by_day else "hour", width, columns, error=error, name=name,
            limit=MOST_ROWS,
        )  # fmt: skip
    width *= 24 if by_day else 1
    rows = _rows(cells, columns)
    return FailureMatrix(
        times=_times(width, columns, by_day=by_day),
        hours=width,
        rows=rows,
        by_error=_totals((one.error_type, one.n) for one in cells),
        by_name=_totals((one.name, one.n) for one in cells),
        total=Number(cells[0].total if cells else 0, "rollup"),
        left_out=cells[0].pairs - len(rows) if cells else 0,
    )


def _rows(cells: Sequence[SummedCell], columns: int) -> list[FailureRow]:
    pairs: dict[tuple[str, str], list[int]] = {}
    for one in cells:
        counts = pairs.setdefault((one.error_type, one.name), [0] * columns)
        counts[min(max(one.back, 0), columns - 1)] += one.n
    rows = [
        FailureRow(error, name, counts, Number(sum(counts), "rollup"))
        for (error, name), counts in pairs.items()
    ]
    return sorted(rows, key=lambda one: (-one.total.value, one.error, one.name))


def _totals(counted: Iterable[tuple[str, int]]) -> list[tuple[str, Number]]:
    totals = Counter[str]()
    for key, n in counted:
        totals[key] += n
    return [(key, Number(n, "rollup")) for key, n in totals.most_common()]


def _times(width: int, columns: int, *, by_day: bool) -> list[FailureTime]:
    begun = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    end = begun.replace(hour=0) + timedelta(days=1) if by_day else begun + timedelta(hours=1)
    length = timedelta(hours=width)
    ends = [end - length * back for back in range(columns)]
    return [FailureTime(one - length, one) for one in ends]
