"""The statement that reads failures by type, task function and time at once."""

from dataclasses import dataclass
from typing import Literal

from uow.db.rates import THIS_HOUR
from uow.db.statement import INTEGER, TEXT, Statements, template

_TODAY = "(date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')"


def _matrix(table: str, unit: str, now: str, seconds: int) -> str:
    """What is left out is what is rare; how many pairs there are is said."""
    return f"""
    WITH found AS MATERIALIZED (
        SELECT error_type, name,
               CAST(floor(extract(epoch FROM {now} - {unit}) / {seconds} / :width) AS integer)
                   AS back,
               CAST(sum(n) AS bigint) AS n
        FROM {{{table}}}
        WHERE {unit} >= {now} - make_interval({unit}s => :width * :columns - 1)
          AND (CAST(:error AS text) IS NULL OR error_type = :error)
          AND (CAST(:name AS text) IS NULL OR name = :name)
        GROUP BY error_type, name, back),
    pairs AS MATERIALIZED (
        SELECT error_type, name, sum(n) AS n FROM found GROUP BY error_type, name),
    most AS MATERIALIZED (
        SELECT error_type, name FROM pairs ORDER BY n DESC, error_type, name LIMIT :limit)
    SELECT error_type, name, back, n, (SELECT count(*) FROM pairs) AS pairs,
           (SELECT CAST(coalesce(sum(pairs.n), 0) AS bigint) FROM pairs) AS total
    FROM most JOIN found USING (error_type, name)
    """  # noqa: S608 - names of ours


_MATRIX = {
    unit: template(name, _matrix(*how), width=INTEGER, columns=INTEGER, error=TEXT, name=TEXT,
                   limit=INTEGER)
    for unit, name, how in (
        ("hour", "error_matrix", ("rollup_error", "hour", THIS_HOUR, 3600)),
        ("day", "error_matrix_of_days", ("rollup_error_day", "day", _TODAY, 86_400)),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SummedCell:
    """The failures of one type, of one task function, in one time.

    Attributes:
        back: The number of the time; 0 is the one that goes on.
        pairs: How many pairs of type and function there are in all.
        total: How many failures.
    """

    error_type: str
    name: str
    back: int
    n: int
    pairs: int
    total: int


async def read_error_matrix(
    db: Statements,
    unit: Literal["hour", "day"],
    width: int,
    columns: int,
    *,
    error: str | None,
    name: str | None,
    limit: int,
) -> list[SummedCell]:
    """Failures by type, function and time.

    Args:
        unit: What is added up: hours, or days of UTC, of which there are fewer rows.
        width: Of one time, in those.
        columns: How many times, the present one included.
        limit: Pairs of type and function: those with the most failures.
    """
    statement = _MATRIX[unit](width=width, columns=columns, error=error, name=name, limit=limit)
    return [SummedCell(*record) for record in await db.execute_once(statement)]
