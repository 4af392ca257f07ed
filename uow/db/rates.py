"""The statements that read the rollup: how many ended how in a time, and how long they took.

Buckets are added up by name, one expression for each: to unfold them into rows takes ten times as
long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from uow.db.durations import BUCKETS
from uow.db.rollup import ALL
from uow.db.statement import INTEGER, TEXT, Statements, template

LAG_SECONDS = 30
"""What ended is in the rollup after so long: processes write, and the leader adds up, every ten
seconds each. A minute is shown when it is complete."""

Span = Literal["minute", "hour", "day"]

By = Literal["queue", "name"]

ErrorsBy = Literal["error", "name", "hour"]

_TOLD_APART: dict[By, str] = {
    "queue": f"""name = coalesce(:name, '{ALL}') AND queue <> '{ALL}'
      AND (CAST(:queue AS text) IS NULL OR queue = :queue)""",
    "name": f"""name <> '{ALL}' AND (CAST(:name AS text) IS NULL OR name = :name)
      AND (CAST(:queue AS text) IS NULL OR queue = :queue)""",
}
"""Which rows are added up, by what is told apart: each attempt is in one of them."""

_TOGETHER = f"""name = coalesce(:name, '{ALL}')
      AND CASE WHEN :queue IS NOT NULL THEN queue = :queue
               WHEN :name IS NOT NULL THEN queue <> '{ALL}' ELSE queue = '{ALL}' END"""

_COMPLETE = f"date_trunc('minute', now() - interval '{LAG_SECONDS} seconds')"

THIS_HOUR = "(date_trunc('hour', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')"
"""Whole hours are those of UTC, whatever the session's zone."""


def _sums(column: str) -> str:
    each = ", ".join(f"sum({column}[{place}])" for place in range(1, BUCKETS + 1))
    return f"CAST(ARRAY[{each}] AS bigint[])"


_SUMMED = f"CAST(sum(n) AS bigint) AS n, {_sums('waited')} AS waited, {_sums('ran')} AS ran"


_NOT_SUMMED = (
    "CAST(sum(n) AS bigint) AS n, CAST(NULL AS bigint[]) AS waited, CAST(NULL AS bigint[]) AS ran"
)


def _arm(by: By, span: str, table: str, since: str, until: str, *, summed: str = _SUMMED) -> str:
    at = "minute" if table == "rollup" else "hour"
    return f"""
    SELECT '{span}' AS span, {by} AS key, outcome, {since} AS since, {until} AS until, {summed}
    FROM {{{table}}}
    WHERE {at} >= {since} AND {at} < {until} AND {_TOLD_APART[by]}
    GROUP BY {by}, outcome"""  # noqa: S608 - names of ours


def _rates(by: By) -> str:
    """How long things took within an hour is read from two whole hours and not from sixty minutes:
    of those there are too many rows to add up sixty buckets of each."""
    an_hour_ago, a_day_ago = (
        f"{THIS_HOUR} - interval '1 hour'",
        f"{THIS_HOUR} - interval '23 hours'",
    )
    return " UNION ALL ".join(
        (
            _arm(by, "minute", "rollup", f"{_COMPLETE} - interval '1 minute'", _COMPLETE),
            _arm(by, "hour", "rollup", f"{_COMPLETE} - interval '1 hour'", _COMPLETE,
                 summed=_NOT_SUMMED),
            _arm(by, "recent", "rollup_hour", an_hour_ago, "now()"),
            _arm(by, "day", "rollup_hour", a_day_ago, "now()"),
        )
    )  # fmt: skip


def _minutes(key: str, columns: str, which: str) -> str:
    """The latest minutes one by one, as another arm."""
    return f"""
    UNION ALL SELECT 'point' AS span, {key} AS key, outcome, minute AS since,
                     minute + interval '1 minute' AS until, {columns}
    FROM {{rollup}}
    WHERE minute >= date_trunc('minute', now()) - make_interval(mins => :last - 1) AND {which}
    GROUP BY 2, outcome, minute"""  # noqa: S608 - names of ours


_RATES = {
    by: template(f"rates_by_{by}", _rates(by), queue=TEXT, name=TEXT)
    for by in ("queue", "name")
}  # fmt: skip

_RATES_EACH = {
    by: template(f"rates_and_minutes_by_{by}",
                 _rates(by) + _minutes(by, _NOT_SUMMED, _TOLD_APART[by]),
                 queue=TEXT, name=TEXT, last=INTEGER)
    for by in ("queue", "name")
}  # fmt: skip

_ERRORS_OF_NAME = f"""
    UNION ALL
    (SELECT 'error', error_type, '', min(hour), max(hour), CAST(sum(n) AS bigint), NULL, NULL
     FROM {{rollup_error}} WHERE hour >= {THIS_HOUR} - interval '23 hours' AND name = :name
     GROUP BY error_type ORDER BY 6 DESC, 2 LIMIT 50)"""  # noqa: S608 - names of ours

_RATES_OF_ONE = {
    by: template(f"rates_of_one_by_{by}",
                 _rates(by) + _minutes("CAST('' AS text)", _SUMMED, _TOGETHER) + _ERRORS_OF_NAME,
                 queue=TEXT, name=TEXT, last=INTEGER)
    for by in ("queue", "name")
}  # fmt: skip


_WAITS_SUMMED = (
    f"CAST(sum(n) AS bigint) AS n, {_sums('waited')} AS waited, CAST(NULL AS bigint[]) AS ran"
)


def _points(table: str, column: str, at: str, since: str, *, summed: str = _SUMMED) -> str:
    return f"""
    SELECT {at} AS at, outcome, {summed}
    FROM {{{table}}}
    WHERE {column} >= {since} AND {_TOGETHER}
    GROUP BY 1, outcome
    """  # noqa: S608 - names of ours


_DAY = "date_trunc('day', {} AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
_POINTS = {
    span: template(f"points_by_{span}", _points(*how), queue=TEXT, name=TEXT, last=INTEGER)
    for span, how in {
        "minute": ("rollup", "minute", "minute",
                   "date_trunc('minute', now()) - make_interval(mins => :last - 1)"),
        "hour": ("rollup_hour", "hour", "hour",
                 f"{THIS_HOUR} - make_interval(hours => :last - 1)"),
        "day": ("rollup_hour", "hour", _DAY.format("hour"),
                f"({_DAY.format('now()')}) - make_interval(days => :last - 1)"),
    }.items()
}  # fmt: skip

_WAITS = template(
    "waits_by_minute",
    _points("rollup", "minute", "minute",
            "date_trunc('minute', now()) - make_interval(mins => :last - 1)",
            summed=_WAITS_SUMMED),
    queue=TEXT,
    name=TEXT,
    last=INTEGER,
)  # fmt: skip

_COLUMN_OF = {"error": "error_type", "name": "name", "hour": "hour"}


_FIRST_HOUR = "(date_trunc('hour', now() AT TIME ZONE 'UTC') - make_interval(hours => :hours - 1))"

_FIRST_DAY = f"(date_trunc('day', {_FIRST_HOUR} + interval '23 hours') AT TIME ZONE 'UTC')"
"""The first whole one."""

_KINDS = """(CAST(:error AS text) IS NULL OR error_type = :error)
          AND (CAST(:name AS text) IS NULL OR name = :name)"""

_HOURS = f"""
          SELECT hour, error_type, name, n, hour AS since, hour AS latest FROM {{rollup_error}}
          WHERE hour >= {_FIRST_HOUR} AT TIME ZONE 'UTC' AND {_KINDS}"""  # noqa: S608 - names of ours

# As days, as far as they are whole. And all of a type and a name first: to count different ones
# takes a sort, which is short then.
_SPAN = f"""
      SELECT error_type, name, sum(n) AS n, min(since) AS since, max(latest) AS latest
      FROM ({_HOURS} AND hour < {_FIRST_DAY}
          UNION ALL
          SELECT day, error_type, name, n, since, latest FROM {{rollup_error_day}}
          WHERE day >= {_FIRST_DAY} AND {_KINDS}) AS of_span
      GROUP BY error_type, name"""  # noqa: S608 - names of ours


def _errors(by: str) -> str:
    return f"""
    SELECT {_COLUMN_OF[by]} AS key, CAST(sum(n) AS bigint) AS n,
           count(DISTINCT error_type) AS types, count(DISTINCT name) AS names,
           min(since) AS since, max(latest) AS latest
    FROM ({_HOURS if by == "hour" else _SPAN}) AS counted
    GROUP BY {_COLUMN_OF[by]} ORDER BY {"key DESC" if by == "hour" else "n DESC, key"} LIMIT :limit
    """  # noqa: S608 - names of ours


_ERRORS = {
    by: template(f"errors_by_{by}", _errors(by), hours=INTEGER, error=TEXT,
                 limit=INTEGER)
    for by in _COLUMN_OF
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SummedRates:
    """What has ended in one way in one span of time.

    Attributes:
        span: ``recent``: the present hour and the one before, for the buckets that an ``hour`` of
            sixty minutes has not. ``point``: one of the latest minutes. ``error``: errors of one
            type.
        key: The queue, the name or the type; of the minutes of one queue or name, empty.
        until: Not included.
        waited: How many of each bucket (`uow.db.durations`).
        ran: The same.
    """

    span: Literal["minute", "hour", "recent", "day", "point", "error"]
    key: str
    outcome: str
    since: datetime
    until: datetime
    n: int
    waited: Sequence[int | None] | None
    ran: Sequence[int | None] | None


@dataclass(frozen=True, slots=True)
class SummedPoint:
    """What has ended in one way in one minute, hour or day.

    Attributes:
        at: Its beginning.
    """

    at: datetime
    outcome: str
    n: int
    waited: Sequence[int | None]
    ran: Sequence[int | None] | None


@dataclass(frozen=True, slots=True)
class SummedErrors:
    """How many errors have one type, are of one task function, or of one hour.

    Attributes:
        key: The type, the name or the hour.
        types: How many types they have.
        names: Of how many task functions they are.
        since: The first hour that has one.
        latest: The last hour that has one.
    """

    key: str | datetime
    n: int
    types: int
    names: int
    since: datetime
    latest: datetime


async def read_rates(
    db: Statements, by: By, *, queue: str | None = None, name: str | None = None
) -> list[SummedRates]:
    """The last complete minute, the last sixty of them, and the last 24 hours with the present one.

    Args:
        by: What to tell apart.
        queue: Of this one alone.
        name: Of this one alone.
    """
    records = await db.execute_once(_RATES[by](queue=queue, name=name))
    return [SummedRates(*record) for record in records]


async def read_rates_and_minutes(
    db: Statements,
    by: By,
    last: int,
    *,
    of_one: bool,
    queue: str | None = None,
    name: str | None = None,
) -> list[SummedRates]:
    """The same, and the last minutes one by one, the present one included.

    Args:
        of_one: Of one queue, or name: its minutes say how long things took, too, and the errors of
            a name within 24 hours are there.
    """
    statement = _RATES_OF_ONE[by] if of_one else _RATES_EACH[by]
    records = await db.execute_once(statement(queue=queue, name=name, last=last))
    return [SummedRates(*record) for record in records]


async def read_points(
    db: Statements, span: Span, last: int, *, queue: str | None = None, name: str | None = None
) -> list[SummedPoint]:
    """The last minutes, hours or days (of UTC), the present one included."""
    records = await db.execute_once(_POINTS[span](last=last, queue=queue, name=name))
    return [SummedPoint(*record) for record in records]


async def read_waits(db: Statements, last: int) -> list[SummedPoint]:
    """The last minutes of everything, the present one included; not how long attempts ran: to add
    that up takes as long as all the rest."""
    records = await db.execute_once(_WAITS(last=last, queue=None, name=None))
    return [SummedPoint(*record) for record in records]


async def read_errors_by(
    db: Statements, by: ErrorsBy, hours: int, *, error: str | None, name: str | None, limit: int
) -> list[SummedErrors]:
    """The errors of the last hours, the present one included; the most frequent first."""
    statement = _ERRORS[by](hours=hours, error=error, name=name, limit=limit)
    return [SummedErrors(*record) for record in await db.execute_once(statement)]
