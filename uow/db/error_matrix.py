"""The statement that reads failures by type, task function and time at once."""

from dataclasses import dataclass

from uow.db.rates import THIS_HOUR
from uow.db.statement import INTEGER, TEXT, Statements, template

_MATRIX = template(
    "error_matrix",
    # What is left out is what is rare; how many pairs there are is said.
    f"""
    WITH found AS MATERIALIZED (
        SELECT error_type, name,
               CAST(floor(extract(epoch FROM {THIS_HOUR} - hour) / 3600 / :width) AS integer)
                   AS back,
               CAST(sum(n) AS bigint) AS n
        FROM {{rollup_error}}
        WHERE hour >= {THIS_HOUR} - make_interval(hours => :width * :columns - 1)
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
    """,  # noqa: S608 - names of ours
    width=INTEGER,
    columns=INTEGER,
    error=TEXT,
    name=TEXT,
    limit=INTEGER,
)


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
    db: Statements, width: int, columns: int, *, error: str | None, name: str | None, limit: int
) -> list[SummedCell]:
    """Failures by type, function and time.

    Args:
        width: Hours of one time.
        columns: How many times, the present one included.
        limit: Pairs of type and function: those with the most failures.
    """
    statement = _MATRIX(width=width, columns=columns, error=error, name=name, limit=limit)
    return [SummedCell(*record) for record in await db.execute_once(statement)]
