"""The statements of the rollup: what a process has counted, and what the leader makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger
from sqlalchemy.types import TypeEngine

from uow.db.durations import BUCKETS
from uow.db.statement import INTEGER, MOMENTS, TEXT, TEXTS, Statements, template

ALL = ""
"""In place of a name, or of a name and a queue: all of them together. No task function and no queue
is called so. Of what is told apart there are too many rows to add up whenever somebody looks."""

_MOST = 2**31 - 1
_NUMBERS = ARRAY(BigInteger())

_WRITE = template(
    "write_counts",
    # What was written before, and the answer lost, is there already or is known to the leader.
    """
    INSERT INTO {rollup_inbox} (process, number, counts)
    VALUES (:process, :number, CAST(:counts AS json))
    ON CONFLICT DO NOTHING
    """,
    process=TEXT,
    counts=TEXT,
)

_LOCK = template(
    "lock_rollup",
    # For the transaction: for a moment two may lead, and what is added up is so in its order.
    # (The number is "roll", so that it is no lock of the application's; one for each schema.)
    """
    SELECT pg_try_advisory_xact_lock(
        CAST(1919904876 AS bigint) * 4294967296
        + CAST(CAST(CAST(:table AS regclass) AS oid) AS bigint)) AS locked
    """,
    table=TEXT,
)

_TAKE = template(
    "take_counts",
    """
    DELETE FROM {rollup_inbox} WHERE (process, number) IN (
        SELECT process, number FROM {rollup_inbox} ORDER BY process, number LIMIT :limit)
    RETURNING process, number, CAST(date_part('epoch', at) AS double precision) AS at,
              CAST(counts AS text) AS counts
    """,
    limit=INTEGER,
)

_SOURCES = template(
    "read_sources",
    "SELECT process, number FROM {rollup_source} WHERE process = ANY(:processes)",
    processes=TEXTS,
)

_NOTE_SOURCES = template(
    "note_sources",
    """
    INSERT INTO {rollup_source} AS source (process, number)
    SELECT process, number FROM unnest(:processes, :numbers) AS seen (process, number)
    ORDER BY process
    ON CONFLICT (process) DO UPDATE
    SET number = greatest(source.number, excluded.number), seen_at = now()
    """,
    processes=TEXTS,
    numbers=_NUMBERS,
)


def _summed(histogram: str) -> str:
    """Bucket by bucket; the shorter one has none in those that it lacks."""
    return f"""ARRAY(
            SELECT CAST(least(coalesce(old, 0) + CAST(coalesce(new, 0) AS bigint), {_MOST})
                        AS integer)
            FROM unnest(kept.{histogram}, excluded.{histogram})
                 WITH ORDINALITY AS both_ (old, new, bucket) ORDER BY bucket)"""  # noqa: S608 - names of ours


def _add_to(table: str, span: str) -> str:
    return f"""
    INSERT INTO {{{table}}} AS kept ({span}, name, queue, outcome, n, waited, ran)
    SELECT at, name, queue, outcome, n, CAST(waited AS integer[]), CAST(ran AS integer[])
    FROM unnest(:moments, :names, :queues, :outcomes, :numbers, :waited, :ran)
         AS new (at, name, queue, outcome, n, waited, ran)
    ORDER BY at, name, queue, outcome
    ON CONFLICT ({span}, name, queue, outcome) DO UPDATE
    SET n = kept.n + excluded.n, waited = {_summed("waited")}, ran = {_summed("ran")}
    """  # noqa: S608 - names of ours


_OF_SUMS: dict[str, TypeEngine[Any]] = {
    "moments": MOMENTS, "names": TEXTS, "queues": TEXTS, "outcomes": TEXTS, "numbers": _NUMBERS,
    "waited": TEXTS, "ran": TEXTS,
}  # fmt: skip
_ADD_MINUTES = template("add_minutes", _add_to("rollup", "minute"), **_OF_SUMS)
_ADD_HOURS = template("add_hours", _add_to("rollup_hour", "hour"), **_OF_SUMS)

_ERROR_TYPES = template(
    "read_error_types",
    """
    SELECT kept.hour, kept.name, kept.error_type
    FROM unnest(:hours, :names) AS asked (hour, name)
         CROSS JOIN LATERAL (
             SELECT hour, name, error_type FROM {rollup_error} AS one
             WHERE one.hour = asked.hour AND one.name = asked.name
             ORDER BY hour, name, error_type LIMIT :limit) AS kept
    """,
    hours=MOMENTS,
    names=TEXTS,
    limit=INTEGER,
)

_ADD_ERRORS = template(
    "add_errors",
    """
    INSERT INTO {rollup_error} AS kept (hour, name, error_type, n)
    SELECT hour, name, error_type, n
    FROM unnest(:hours, :names, :types, :numbers) AS new (hour, name, error_type, n)
    ORDER BY hour, name, error_type
    ON CONFLICT (hour, name, error_type) DO UPDATE SET n = kept.n + excluded.n
    """,
    hours=MOMENTS,
    names=TEXTS,
    types=TEXTS,
    numbers=_NUMBERS,
)

_ADD_ERRORS_OF_DAYS = template(
    "add_errors_of_days",
    """
    INSERT INTO {rollup_error_day} AS kept (day, name, error_type, n, since, latest)
    SELECT date_trunc('day', hour AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS day, name, error_type,
           CAST(sum(n) AS bigint), min(hour), max(hour)
    FROM unnest(:hours, :names, :types, :numbers) AS new (hour, name, error_type, n)
    GROUP BY 1, name, error_type ORDER BY 1, name, error_type
    ON CONFLICT (day, name, error_type) DO UPDATE
    SET n = kept.n + excluded.n, since = least(kept.since, excluded.since),
        latest = greatest(kept.latest, excluded.latest)
    """,
    hours=MOMENTS,
    names=TEXTS,
    types=TEXTS,
    numbers=_NUMBERS,
)


def _forget(table: str, key: str, span: str, kept: str) -> str:
    return f"""
    DELETE FROM {{{table}}} WHERE ({key}) IN (
        SELECT {key} FROM {{{table}}} WHERE {span} < now() - interval '{kept}'
        ORDER BY {span} LIMIT :limit)
    RETURNING 1
    """  # noqa: S608 - names of ours


_KEPT = {
    "rollup": ("minute, name, queue, outcome", "minute", "48 hours"),
    "rollup_hour": ("hour, name, queue, outcome", "hour", "90 days"),
    "rollup_error": ("hour, name, error_type", "hour", "90 days"),
    "rollup_error_day": ("day, name, error_type", "day", "91 days"),
    "rollup_source": ("process", "seen_at", "2 days"),
}
_FORGET = [
    template(f"forget_{table}", _forget(table, *what), limit=INTEGER)
    for table, what in _KEPT.items()
]


@dataclass(frozen=True, slots=True)
class WrittenCounts:
    """A row of the inbox.

    Attributes:
        at: When it was written, by the clock of Postgres, in seconds since 1970.
        counts: As JSON.
    """

    process: str
    number: int
    at: float
    counts: str


@dataclass(frozen=True, slots=True)
class Sums:
    """What is to be added to one row of the rollup.

    Attributes:
        at: The beginning of its minute, or of its hour.
        name: `ALL`: of all task functions, in `queue`, or in all queues.
        waited: How many in which bucket.
        ran: The same.
    """

    at: datetime
    name: str
    queue: str
    outcome: str
    n: int
    waited: Mapping[int, int]
    ran: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """How many errors of a type there were in an hour."""

    hour: datetime
    name: str
    error_type: str
    n: int


async def write_counts(
    db: Statements, process: str, number: int, counts: str, *, limit: float
) -> None:
    """Write what a process has counted; again, should it not know whether it has.

    Args:
        number: One more than that of its row before.
        counts: As JSON.
        limit: Seconds that it may take.
    """
    statement = _WRITE(process=process, number=number, counts=counts)
    await db.execute_once(statement, limit=limit)


async def lock_rollup(db: Statements, schema: str) -> bool:
    """Keep others from adding up until this transaction ends; False: another does so."""
    quoted = '"' + schema.replace('"', '""') + '"'
    ((locked,),) = await db.execute_once(_LOCK(table=f"{quoted}.rollup_inbox"))
    return bool(locked)


async def take_counts(db: Statements, limit: int) -> list[WrittenCounts]:
    """Take rows out of the inbox, those of each process in their order."""
    taken = [WrittenCounts(*record) for record in await db.execute_once(_TAKE(limit=limit))]
    return sorted(taken, key=lambda one: (one.process, one.number))


async def read_sources(db: Statements, processes: Sequence[str]) -> dict[str, int]:
    """The number of the last row of each process that is added up."""
    return dict(await db.execute_once(_SOURCES(processes=processes)))


async def note_sources(db: Statements, last: Mapping[str, int]) -> None:
    """These are added up, by process."""
    await db.execute_once(_NOTE_SOURCES(processes=[*last], numbers=[*last.values()]))


async def add_minutes(db: Statements, sums: Sequence[Sums]) -> None:
    """Add to minutes; one row for each key."""
    await db.execute_once(_ADD_MINUTES(**_columns(sums)))


async def add_hours(db: Statements, sums: Sequence[Sums]) -> None:
    """Add to hours; one row for each key."""
    await db.execute_once(_ADD_HOURS(**_columns(sums)))


async def read_error_types(
    db: Statements, pairs: Sequence[tuple[datetime, str]], most: int
) -> list[tuple[datetime, str, str]]:
    """The types that hours of task functions have; `most` of each."""
    hours, names = [hour for hour, _ in pairs], [name for _, name in pairs]
    records = await db.execute_once(_ERROR_TYPES(hours=hours, names=names, limit=most))
    return [(hour, name, error_type) for hour, name, error_type in records]


async def add_errors(db: Statements, errors: Sequence[ErrorCount]) -> None:
    """Add to errors of hours and of days; one value for each key of an hour."""
    columns: dict[str, list[object]] = {
        "hours": [one.hour for one in errors],
        "names": [one.name for one in errors],
        "types": [one.error_type for one in errors],
        "numbers": [one.n for one in errors],
    }
    await db.execute_once(_ADD_ERRORS(**columns))
    await db.execute_once(_ADD_ERRORS_OF_DAYS(**columns))


async def forget_old(db: Statements, limit: int) -> int:
    """Remove what is kept no longer, at most so many rows of each table; returns how many."""
    return sum([len(await db.execute_once(one(limit=limit))) for one in _FORGET])


def _columns(sums: Sequence[Sums]) -> dict[str, list[object]]:
    return {
        "moments": [one.at for one in sums],
        "names": [one.name for one in sums],
        "queues": [one.queue for one in sums],
        "outcomes": [one.outcome for one in sums],
        "numbers": [one.n for one in sums],
        "waited": [_as_array(one.waited) for one in sums],
        "ran": [_as_array(one.ran) for one in sums],
    }


def _as_array(histogram: Mapping[int, int]) -> str:
    """As Postgres writes it, up to the last bucket in which there are any."""
    last = max(histogram, default=-1)
    counts = [min(histogram.get(bucket, 0), _MOST) for bucket in range(min(last + 1, BUCKETS))]
    return "{" + ",".join(map(str, counts)) + "}"
