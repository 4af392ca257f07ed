"""Adds up what all processes have counted, by minute and hour: a duty of the leader.

What is taken out of the inbox and what it is added to are one transaction: a leader that dies in
the middle has done nothing. Two at once add nothing twice: one waits for its next turn.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import asyncpg

from uow.db import rollup
from uow.db.database import Database
from uow.db.fragments import OF_ACTS
from uow.db.rollup import ALL, ErrorCount, Sums, WrittenCounts
from uow.db.transaction import Transaction
from uow.service import Service
from uow.services.counts import MOST_ERROR_TYPES, OTHER, Counts, OutcomeTally, Slice, from_text

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0

LIMIT_SECONDS = 10.0
"""For one batch."""

BATCH = 200
"""Rows of the inbox that are taken at once: those of ten seconds of two hundred processes."""

MOST_BATCHES = 50
"""In one round; what is left waits for the next."""

FORGET_SECONDS = 60.0
FORGET_ROWS = 5_000

REPORT_SECONDS = 60.0

_UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError,
          asyncpg.ProgramLimitExceededError)  # fmt: skip
"""What Postgres says of values that it does not take."""

_EARLIEST, _LATEST = 1e9, 1e11
"""Since 1970: a clock that says something else is none."""

_Key = tuple[datetime, str, str, str]


class CountMerger(Service):
    """Adds up while this process leads; what fails stops nothing else, and stays in the inbox."""

    passing = (Exception,)
    pause_after_error = pause_cap = INTERVAL_SECONDS
    report_seconds = REPORT_SECONDS

    def __init__(self, db: Database) -> None:
        super().__init__(INTERVAL_SECONDS)
        self._db = db
        self._forgot_at = float("-inf")

    @property
    def name(self) -> str:
        """What logs call it."""
        return "rollup of the fleet"

    async def run_once(self) -> int:
        """Add up what there is; returns how many rows of the inbox that was."""
        merged = 0
        for _ in range(MOST_BATCHES):
            batch = await self._merge()
            merged += batch
            if batch < BATCH:
                break
        now = time.monotonic()
        if now - self._forgot_at >= FORGET_SECONDS:
            self._forgot_at = now
            await rollup.forget_old(self._db, FORGET_ROWS)
        return merged

    async def _merge(self) -> int:
        """A batch; row by row, if Postgres does not take what is in one of them."""
        try:
            return await merge_batch(self._db, BATCH)
        except _UNFIT as error:
            logger.warning("rollup: a count is not taken (%s); now one by one", error)
        for done in range(BATCH):
            try:
                if not await merge_batch(self._db, 1):
                    return done
            except _UNFIT:
                await drop_one(self._db)
        return BATCH


async def merge_batch(db: Database, most: int) -> int:
    """Add up so many rows of the inbox at most, in one transaction; returns how many it were."""
    async with db.transaction(limit=LIMIT_SECONDS) as transaction:
        if not await rollup.lock_rollup(transaction, db.schema):
            return 0
        taken = await rollup.take_counts(transaction, most)
        if not taken:
            return 0
        new = await _new(transaction, taken)
        await _add(transaction, [*_moments(new)])
        last = {one.process: one.number for one in taken}
        for act in [process for process in last if process.startswith(OF_ACTS)]:
            del last[act]
        await rollup.note_sources(transaction, last)
    return len(taken)


async def drop_one(db: Database) -> None:
    """Take the first row out of the inbox, of which nothing can be made."""
    async with db.transaction(limit=LIMIT_SECONDS) as transaction:
        if await rollup.lock_rollup(transaction, db.schema):
            for one in await rollup.take_counts(transaction, 1):
                logger.error("rollup: row %d of %s is left out", one.number, one.process)


async def _new(db: Transaction, taken: Sequence[WrittenCounts]) -> list[WrittenCounts]:
    """Those that are not added up already: an answer may be lost, and the row be written again."""
    seen = await rollup.read_sources(db, sorted({one.process for one in taken}))
    return [one for one in taken if one.number > seen.get(one.process, -1)]


def _moments(rows: Iterable[WrittenCounts]) -> Iterable[tuple[float, Counts]]:
    """The counts, each with when it ended, in seconds since 1970; what is none is left out."""
    for row in rows:
        for ago, counts in _slices(row):
            yield row.at - ago, counts


def _slices(row: WrittenCounts) -> list[Slice]:
    try:
        if _EARLIEST < row.at < _LATEST:
            return from_text(row.counts)
    except ValueError:
        pass
    logger.error("rollup: row %d of %s is not understood, and left out", row.number, row.process)
    return []


async def _add(db: Transaction, those: Sequence[tuple[float, Counts]]) -> None:
    minutes, hours, errors = _by_span(those, 60), _by_span(those, 3600), _errors(those)
    if minutes:
        await rollup.add_minutes(db, _sums(minutes))
        await rollup.add_hours(db, _sums(hours))
    if errors:
        await rollup.add_errors(db, await _bounded(db, errors))


def _by_span(those: Iterable[tuple[float, Counts]], seconds: int) -> dict[_Key, OutcomeTally]:
    found: dict[_Key, OutcomeTally] = {}
    for at, counts in those:
        begins = _begins(at, seconds)
        for key, one in counts.attempts.items():
            for row in _rows_of(*key):
                tally = found.setdefault((begins, *row), OutcomeTally())
                tally.add(one.n, one.waited.items(), one.ran.items())
    return found


def _rows_of(name: str, queue: str, outcome: str) -> Iterator[tuple[str, str, str]]:
    """Where an attempt is counted: by itself, in all of its queue, and in all."""
    queue = queue or OTHER
    yield name or OTHER, queue, outcome
    yield ALL, queue, outcome
    yield ALL, ALL, outcome


def _begins(at: float, seconds: int) -> datetime:
    return datetime.fromtimestamp(at // seconds * seconds, UTC)


def _sums(tallies: Mapping[_Key, OutcomeTally]) -> list[Sums]:
    return [Sums(*key, one.n, one.waited, one.ran) for key, one in tallies.items()]


def _errors(those: Iterable[tuple[float, Counts]]) -> dict[tuple[datetime, str, str], int]:
    found: dict[tuple[datetime, str, str], int] = {}
    for at, counts in those:
        hour = _begins(at, 3600)
        for (name, error_type), n in counts.errors.items():
            key = (hour, name, error_type)
            found[key] = found.get(key, 0) + n
    return found


async def _bounded(
    db: Transaction, errors: Mapping[tuple[datetime, str, str], int]
) -> list[ErrorCount]:
    """With the types that an hour of a task function has room for; the rest as one."""
    pairs = sorted({key[:2] for key in errors})
    kept = set(await rollup.read_error_types(db, pairs, MOST_ERROR_TYPES + 1))
    room = dict.fromkeys(pairs, MOST_ERROR_TYPES)
    for hour, name, _ in kept:
        room[hour, name] -= 1
    found: dict[tuple[datetime, str, str], int] = {}
    for key, n in sorted(errors.items(), key=lambda one: -one[1]):
        hour, name, _ = key
        if key not in kept:
            if room[hour, name] > 0:
                room[hour, name] -= 1
                kept.add(key)
            else:
                key = (hour, name, OTHER)
        found[key] = found.get(key, 0) + n
    return [ErrorCount(*key, n) for key, n in found.items()]
