"""What has ended is counted, written by each process and added up once, whoever dies or leads."""

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from tests.ended import alike
from tests.ticks import fire
from uow import Database, Settings, TaskClient, TaskContext, cron, task
from uow.attempt.notes import Notes
from uow.attempt.telling import EndedAttempt
from uow.db import rollup
from uow.db.statement import SILENT_SECONDS, Records, Statement
from uow.events.spine import Spine
from uow.services import count_writer
from uow.services.count_merger import CountMerger, merge_batch
from uow.services.count_writer import CountWriter
from uow.services.counts import MOST_ERROR_TYPES, MOST_KEYS, Counts, Slice, from_text, to_text
from uow.tasks.outcome import Completed, Failed
from uow.tasks.registry import Registry

Rows = list[tuple[Any, ...]]

DONE = Completed(b"null")

SUMS = ("name <> ''", "name = '' AND queue <> ''", "name = '' AND queue = ''")
"""Each attempt is in one row of each kind."""


async def rows(db: Database, statement: str) -> Rows:
    return [tuple(row) for row in (await db.execute_once(text(statement), {})).all()]


async def minutes(db: Database) -> Rows:
    """The sums of all minutes, by name, queue and outcome."""
    return await rows(
        db,
        "SELECT name, queue, outcome, CAST(sum(n) AS int) FROM rollup "
        "WHERE name <> '' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )


async def totals(db: Database) -> dict[str, int]:
    """What the inbox and each table of sums have: told apart, by queue, and all together."""
    found = {"inbox": sum(n for (counts,) in await rows(db, "SELECT counts FROM rollup_inbox")
                          for _, attempts, _ in counts for *_, n, _, _ in attempts)}  # fmt: skip
    for table, which in itertools.product(("rollup", "rollup_hour"), SUMS):
        ((n, waited, ran),) = await rows(
            db,
            f"SELECT coalesce(sum(n), 0), coalesce(sum((SELECT sum(x) FROM unnest(waited) x)), 0), "
            f"coalesce(sum((SELECT sum(x) FROM unnest(ran) x)), 0) FROM {table} WHERE {which}",
        )
        assert n == waited == ran == found.setdefault(table, n)
    return {table: int(n) for table, n in found.items()}


class Told:
    """An attempt as far as it is counted."""

    def __init__(self, name: str = "f", queue: str = "q", waited: float = 0.1) -> None:
        self.task = SimpleNamespace(name=name, queue=queue, headers={})
        self.waited, self.began = waited, time.time() - 0.01


Emit = Callable[..., None]


@pytest.fixture
def events() -> Spine:
    return Spine()


@pytest.fixture
def emit(events: Spine) -> Emit:
    """Let attempts end."""

    def emit(times: int = 1, outcome: Any = DONE, **what: Any) -> None:
        events.emit_all(tuple(EndedAttempt(Told(**what), outcome) for _ in range(times)))  # type: ignore[arg-type]

    return emit


@pytest.fixture
def writer(db: Database, events: Spine) -> CountWriter:
    return CountWriter(db, "host:1:a", Notes(events, lambda name: name != "nobody's"))


@pytest.fixture
def merger(db: Database) -> CountMerger:
    return CountMerger(db)


async def test_under_both_engines_attempts_of_all_kinds_are_counted_as_the_worker_ends(
    drain: Drain, registry: Registry, client: TaskClient, db: Database, settings: Settings
) -> None:
    @cron("0 0 1 1 *")
    @task("ticks.tell", registry=registry)
    async def tell(ctx: TaskContext) -> None: ...

    @task("mails.send", registry=registry)
    async def send(ctx: TaskContext) -> None: ...

    @task("cards.charge", registry=registry, max_tries=1)
    async def charge(ctx: TaskContext) -> None:
        raise RuntimeError("declined")

    @task("pings.send", registry=registry, durable=False)
    async def ping(ctx: TaskContext) -> None: ...

    @task("reports.make", registry=registry)
    async def make(ctx: TaskContext) -> None:
        async with ctx["db"].get_session() as session:
            await session.execute(text("SELECT 1"))

    for _ in range(3):
        await client.enqueue(send)
    for one in (charge, ping, make):
        await client.enqueue(one)
    await fire(db, settings, registry)
    await drain()
    while await merge_batch(db, 100):
        pass
    assert await minutes(db) == [
        ("cards.charge", "arq:queue", "failed", 1),
        ("mails.send", "arq:queue", "completed", 3),
        ("pings.send", "arq:queue", "completed", 1),
        ("reports.make", "arq:queue", "completed", 1),
        ("ticks.tell", "arq:queue", "completed", 1),
    ]
    assert await rows(db, "SELECT name, error_type, n FROM rollup_error") == [
        ("cards.charge", "RuntimeError", 1)
    ]


async def test_a_round_writes_one_row_and_none_if_nothing_has_ended(
    db: Database, writer: CountWriter, emit: Emit
) -> None:
    await writer.run_once()
    assert await rows(db, "SELECT * FROM rollup_inbox") == []
    emit(300)
    emit(2, Failed(ValueError("no")), name="g")
    await writer.run_once()
    await writer.run_once()
    ((counts,),) = await rows(db, "SELECT counts FROM rollup_inbox")
    ((ago, attempts, errors),) = counts
    assert 0 <= ago < 10
    assert [(name, queue, how, n) for name, queue, how, n, *_ in attempts] == [
        ("f", "q", "completed", 300), ("g", "q", "failed", 2),
    ]  # fmt: skip
    assert errors == [["g", "ValueError", 2]]


class Broken:
    """A Postgres that fails on the way there, or on the way back."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.before = self.after = False

    async def execute_once(self, statement: Statement, *, limit: float = SILENT_SECONDS) -> Records:
        if self.before:
            raise ConnectionError("away")
        records = await self._db.execute_once(statement, limit=limit)
        if self.after:
            raise ConnectionError("the answer is lost")
        return records


async def test_what_could_not_be_written_is_written_with_what_comes_next(
    db: Database, events: Spine, emit: Emit
) -> None:
    broken = Broken(db)
    writer = CountWriter(broken, "host:1:a", Notes(events, lambda _: True))
    broken.before = True
    for _ in range(count_writer.MOST_SLICES * 2):
        emit()
        with pytest.raises(ConnectionError):
            await writer.run_once()
    assert len(writer._kept) <= count_writer.MOST_SLICES
    broken.before = False
    await writer.run_once()
    assert (await totals(db))["inbox"] == count_writer.MOST_SLICES * 2
    assert len(await rows(db, "SELECT 1 FROM rollup_inbox")) <= 2


@pytest.mark.parametrize("merged", [False, True], ids=["in the inbox", "added up meanwhile"])
async def test_what_was_written_is_not_written_again_when_the_answer_was_lost(
    db: Database, events: Spine, emit: Emit, merged: bool
) -> None:
    broken = Broken(db)
    writer = CountWriter(broken, "host:1:a", Notes(events, lambda _: True))
    emit(3)
    broken.after = True
    with pytest.raises(ConnectionError):
        await writer.run_once()
    if merged:
        assert await merge_batch(db, 10) == 1
    emit(4)
    broken.after = False
    await writer.run_once()
    await merge_batch(db, 10)
    assert await totals(db) == {"inbox": 0, "rollup": 7, "rollup_hour": 7}


async def test_the_last_counts_are_written_when_the_worker_stops(
    db: Database, writer: CountWriter, emit: Emit
) -> None:
    await writer.start()
    emit(5)
    await writer.stop()
    assert (await totals(db))["inbox"] == 5


async def test_a_table_that_is_locked_or_gone_stops_nothing(
    db: Database, writer: CountWriter, emit: Emit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_writer, "LAST_SECONDS", 0.2)
    emit(2)
    async with db.engine.connect() as other:
        await other.execute(text("LOCK TABLE rollup_inbox"))
        await writer.stop()
        await other.rollback()
    await writer.stop()
    assert (await totals(db))["inbox"] == 2
    await db.execute_once(text("ALTER TABLE worker.rollup_inbox RENAME TO gone"), {})
    emit(2)
    deaths: list[BaseException] = []
    writer.on_death = deaths.append
    await writer.start()
    await writer.stop()
    assert deaths == []
    await db.execute_once(text("ALTER TABLE worker.gone RENAME TO rollup_inbox"), {})
    await writer.stop()
    assert (await totals(db))["inbox"] == 4


async def test_names_that_nobody_here_has_are_one(
    writer: CountWriter, emit: Emit, db: Database
) -> None:
    emit(2, name="nobody's")
    await writer.run_once()
    await merge_batch(db, 10)
    assert await minutes(db) == [("(unknown)", "q", "completed", 2)]


def test_counts_have_bounds_and_lose_nothing() -> None:
    counts = Counts()
    for number in range(MOST_KEYS + 50):
        counts.note(alike(f"f{number}", "q", "completed", 0.1, 0.1))
    for number in range(MOST_ERROR_TYPES + 50):
        counts.note(alike("f0", "q", "failed", 0.1, 0.1, f"E{number}"))
    assert len(counts.attempts) <= MOST_KEYS + 2
    assert sum(one.n for one in counts.attempts.values()) == MOST_KEYS + MOST_ERROR_TYPES + 100
    assert len(counts.errors) == MOST_ERROR_TYPES + 1
    assert counts.errors["f0", "other"] == 50
    ((ago, read),) = from_text(to_text([Slice(1.5, counts)]))
    assert ago == 1.5
    assert {key: one.n for key, one in read.attempts.items()} == {
        key: one.n for key, one in counts.attempts.items()
    }
    assert read.errors == counts.errors


async def put(db: Database, number: int, counts: Sequence[Slice] | str, process: str = "p") -> None:
    said = counts if isinstance(counts, str) else to_text(counts)
    await rollup.write_counts(db, process, number, said, limit=10)


def some(n: int = 1, name: str = "f", error: str | None = None, waited: float = 0.1) -> Counts:
    counts = Counts()
    how = "failed" if error else "completed"
    counts.note(alike(name, "q", how, waited, 1.0, error, n=n))
    return counts


async def test_a_minute_is_that_of_the_clock_of_postgres_when_it_ended(
    db: Database, merger: CountMerger
) -> None:
    await put(db, 1, [Slice(0.0, some(1)), Slice(3600.0, some(2))])
    await db.execute_once(text("UPDATE rollup_inbox SET at = '2030-01-31T12:00:59Z'"), {})
    await merger.run_once()
    said = (
        "SELECT CAST(minute AT TIME ZONE 'UTC' AS text), n FROM rollup WHERE name <> '' ORDER BY 1"
    )
    assert await rows(db, said) == [("2030-01-31 11:00:00", 2), ("2030-01-31 12:00:00", 1)]
    said = (
        "SELECT CAST(hour AT TIME ZONE 'UTC' AS text), n FROM rollup_hour "
        "WHERE name <> '' ORDER BY 1"
    )
    assert await rows(db, said) == [("2030-01-31 11:00:00", 2), ("2030-01-31 12:00:00", 1)]


async def test_histograms_of_different_lengths_are_added_bucket_by_bucket(
    db: Database, merger: CountMerger
) -> None:
    for number, waited in enumerate((0.0, 1000.0, 0.001, 1000.0)):
        await put(db, number, [Slice(0.0, some(1, waited=waited))])
        await db.execute_once(text("UPDATE rollup_inbox SET at = '2030-01-31T12:00:59Z'"), {})
        await merger.run_once()
    ((n, waited),) = await rows(db, "SELECT n, waited FROM rollup WHERE name <> ''")
    assert n == 4
    assert {bucket: count for bucket, count in enumerate(waited) if count} == {0: 1, 4: 1, 43: 2}


@pytest.mark.parametrize(
    "bad",
    ["{}", "[1]", '[[0, [["f", "q", "completed", -1, [], []]], []]]',
     '[[0, [["f", "q", "completed", 1, [[60, 1]], []]], []]]',
     '[[0, [["f\\u0000", "q", "completed", 1, [], []]], []]]', '[[-5, [], []]]',
     '[[0, [["\\ud800", "q", "completed", 1, [], []]], []]]'],
)  # fmt: skip
async def test_a_row_of_which_nothing_can_be_made_keeps_nobody_elses_back(
    db: Database, merger: CountMerger, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    await put(db, 1, [Slice(0.0, some(2))], "a")
    await put(db, 1, bad, "b")
    await put(db, 1, [Slice(0.0, some(3))], "c")
    assert await merger.run_once() == 3
    assert await totals(db) == {"inbox": 0, "rollup": 5, "rollup_hour": 5}
    assert "row 1 of b is not understood, and left out" in caplog.text


async def test_neither_does_one_that_postgres_does_not_take(
    db: Database, merger: CountMerger
) -> None:
    await db.execute_once(
        text("ALTER TABLE rollup ADD CONSTRAINT no CHECK (name <> 'refused')"), {}
    )
    for process, name in (("a", "f"), ("b", "refused"), ("c", "f")):
        await put(db, 1, [Slice(0.0, some(2, name))], process)
    await merger.run_once()
    assert await totals(db) == {"inbox": 0, "rollup": 4, "rollup_hour": 4}


async def test_an_hour_of_a_task_function_has_room_for_so_many_types_of_errors(
    db: Database, merger: CountMerger
) -> None:
    at = text("UPDATE rollup_inbox SET at = '2030-01-31T12:00:59Z'")
    for number in range(3):
        counts = Counts()
        for one in range(120):
            counts.add(some(1, error=f"E{number}-{one}"))
            counts.add(some(1, "g", error="Same"))
        await put(db, number, [Slice(0.0, counts)])
        await db.execute_once(at, {})
        await merger.run_once()
    found = await rows(db, "SELECT name, error_type = 'other', count(*), CAST(sum(n) AS int) "
                       "FROM rollup_error GROUP BY 1, 2 ORDER BY 1, 2")  # fmt: skip
    assert found == [
        ("f", False, MOST_ERROR_TYPES, MOST_ERROR_TYPES), ("f", True, 1, 160), ("g", False, 1, 360),
    ]  # fmt: skip


async def test_two_leaders_at_once_add_nothing_twice(db: Database, merger: CountMerger) -> None:
    for number in range(40):
        await put(db, number // 4, [Slice(0.0, some(1))], f"p{number % 4}")
    async with db.transaction() as one:
        assert await rollup.lock_rollup(one, db.schema)
        assert await merge_batch(db, 10) == 0
    await asyncio.gather(*(merge_batch(db, 7) for _ in range(8)))
    await merger.run_once()
    assert await totals(db) == {"inbox": 0, "rollup": 40, "rollup_hour": 40}


async def test_a_leader_that_dies_in_the_middle_has_done_nothing(
    db: Database, merger: CountMerger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(db, 1, [Slice(0.0, some(3, error="E"))])
    for step in ("add_minutes", "add_hours", "add_errors", "note_sources"):
        with monkeypatch.context() as dying:
            dying.setattr(rollup, step, die)
            with pytest.raises(asyncio.CancelledError):
                await merge_batch(db, 10)
        assert await totals(db) == {"inbox": 3, "rollup": 0, "rollup_hour": 0}
    await merger.run_once()
    assert await totals(db) == {"inbox": 0, "rollup": 3, "rollup_hour": 3}


async def die(*_: object) -> None:
    raise asyncio.CancelledError


async def test_minutes_are_kept_for_two_days_and_hours_for_ninety(
    db: Database, merger: CountMerger
) -> None:
    for number, days in enumerate((1, 3, 89, 91)):
        await put(db, number, [Slice(0.0, some(1, error="E"))])
        await db.execute_once(
            text(f"UPDATE rollup_inbox SET at = now() - interval '{days} days'"), {}
        )
        await merger.run_once()
    await CountMerger(db).run_once()
    for table, left in (("rollup", 1), ("rollup_hour", 3), ("rollup_error", 3),
                        ("rollup_error_day", 3)):  # fmt: skip
        assert await rows(db, f"SELECT count(*) FROM {table} WHERE name <> ''") == [(left,)]


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_dies_or_leads_totals_are_what_was_written(db: Database, seed: int) -> None:
    """Random counts; writes that fail before or behind Postgres, processes that die, leaders that
    die in the middle or are two at once."""
    rng, graves = random.Random(seed), []
    fleet = [Member(db, number) for number in range(3)]
    for _ in range(60):
        at = rng.randrange(len(fleet))
        match rng.choice(("member", "member", "death", "leader")):
            case "member":
                await fleet[at].does_something(rng)
            case "death":
                graves.append(fleet[at])
                fleet[at] = Member(db, rng.randint(10, 10**9))
            case "leader":
                await leaders_do_something(db, rng)
    for one in fleet:
        await one.write()
        assert one.written == one.ended
    while await merge_batch(db, 100):
        pass
    written = sum(one.written for one in [*fleet, *graves])
    assert await totals(db) == {"inbox": 0, "rollup": written, "rollup_hour": written}


class Member:
    """A process of the fleet, and how much of what it has counted is written."""

    def __init__(self, db: Database, number: int) -> None:
        self._events, self._broken = Spine(), Broken(db)
        notes = Notes(self._events, lambda _: True)
        self.writer = CountWriter(self._broken, f"host:{number}:a", notes)
        self.ended = self.written = 0

    async def does_something(self, rng: random.Random) -> None:
        what = rng.choice(("end", "end", "write", "away", "lose"))
        if what == "end":
            self.end(rng.randint(1, 20), rng)
        else:
            await self.write(away=what == "away", loses_answer=what == "lose")

    def end(self, n: int, rng: random.Random) -> None:
        self.ended += n
        outcome = rng.choice([DONE, None, Failed(ValueError("no"))])
        told = Told(rng.choice("fgh"), rng.choice("qr"), rng.expovariate(1))
        self._events.emit_all((EndedAttempt(told, outcome),) * n)  # type: ignore[arg-type]

    async def write(self, *, away: bool = False, loses_answer: bool = False) -> None:
        """Should an answer be lost, it is the first: that row is written, those behind are not."""
        self._broken.before, self._broken.after = away, loses_answer
        try:
            await self.writer.run_once()
            self.written = self.ended
        except ConnectionError:
            if loses_answer:
                unsent = sum(_size(counts) for _, counts in self.writer._kept)
                self.written = self.ended - unsent


async def leaders_do_something(db: Database, rng: random.Random) -> None:
    match rng.choice(("one", "two", "torn")):
        case "one":
            await merge_batch(db, rng.randint(1, 5))
        case "two":
            await asyncio.gather(merge_batch(db, 2), merge_batch(db, 3))
        case "torn":
            await merge_and_die(db, rng.choice(("add_minutes", "add_hours", "note_sources")))


def _size(counts: Counts) -> int:
    return sum(one.n for one in counts.attempts.values())


async def merge_and_die(db: Database, step: str) -> None:
    with pytest.MonkeyPatch.context() as dying:
        dying.setattr(rollup, step, die)
        with contextlib.suppress(asyncio.CancelledError):
            await merge_batch(db, 3)
