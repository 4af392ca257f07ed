"""Measures the lists of tasks and every other question, on tables of any size.

    uv run tools/list_costs.py [--settled 1000000] [--waiting 100000] [--repeat 40] [--goal 100]

Starts a Postgres and a Redis of its own, fills their tables, and asks each question again and
again, with fresh places in it. Prints the median and the 95th percentile of each, how many
statements it took, how often it has read all of a table `task`, and what it found or how far it
looked. Filling a million rows takes half a minute.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from big_table import big_table
from question_costs import questions
from sqlalchemy import text

from uow import Database, TaskClient
from uow.db.listing import Direction
from uow.db.transaction import Transaction
from uow.questions.filters import TaskFilter
from uow.questions.lists import TaskLists, TaskPage
from uow.questions.redaction import Redaction
from uow.settings.of_looking import REDACTED_KEYS
from uow.tasks.registry import Registry

MOST_STATEMENTS = 4

LISTS: dict[str, dict[str, str]] = {
    "all": {}, "oldest": {"order": "oldest"},
    "succeeded": {"state": "succeeded"}, "failed": {"state": "failed"},
    "oldest failed": {"state": "failed", "order": "oldest"},
    "failed or cancelled": {"state": "failed,cancelled"}, "queued": {"state": "queued"},
    "oldest queued": {"state": "queued", "order": "oldest"},
    "scheduled": {"state": "scheduled"}, "retrying": {"state": "retrying"},
    "running": {"state": "running"},
    "all but succeeded": {"state": "queued,scheduled,retrying,running,failed,cancelled"},
    "common name": {"name": "tasks.number_3"}, "rare name": {"name": "rare.task"},
    "no such name": {"name": "not.there"}, "prefix": {"name": "tasks.*"},
    "rare prefix": {"name": "rare.*"}, "small queue": {"queue": "arq:small"},
    "no such queue": {"queue": "not:there"}, "big user": {"user": "1"}, "user": {"user": "77"},
    "oldest of a user": {"user": "few", "order": "oldest"},
    "big user, rare name": {"user": "1", "name": "rare.task"},
    "scattered user, rare name": {"user": "few", "name": "rare.task"},
    "big user, failed": {"user": "1", "state": "failed"},
    "user, error": {"user": "1", "error": "Error1"},
    "failed, rare name": {"state": "failed", "name": "rare.task"},
    "queued, no such name": {"state": "queued", "name": "not.there"},
    "scheduled, no such name": {"state": "scheduled", "name": "not.there"},
    "since": {"since": "12h"}, "until": {"until": "3d"},
    "settled": {"settled-since": "12h", "settled-until": "6h"},
    "failed, settled": {"state": "failed", "settled-since": "12h"},
    "error": {"error": "Error1"}, "error, no such queue": {"error": "Error1", "queue": "not:there"},
    "worker": {"worker": "host:3"}, "running of a worker": {"state": "running", "worker": "host:3"},
    "schedule": {"schedule": "nightly_7"},
    "schedule, failed": {"schedule": "nightly_7", "state": "failed"},
    "argument": {"arg:order_id": "77"},
    "argument, failed": {"arg:order_id": "77", "state": "failed"},
    "argument, user": {"arg:order_id": "77", "user": "few"},
}  # fmt: skip

_SCANS = text("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'task'")
_FLUSH = text("SELECT pg_stat_force_next_flush()")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a question costs: milliseconds, statements beside BEGIN and COMMIT, and whole reads."""

    median: float
    p95: float
    statements: int
    scans: int
    found: str


async def main(settled: int, waiting: int, repeat: int, goal: float) -> bool:
    """Fill, measure, print; whether all are within the goal."""
    async with big_table(settled, waiting) as client:
        lists = TaskLists(client.db, Redaction(REDACTED_KEYS, Registry()))
        asked = {name: _pages(lists, words) for name, words in LISTS.items()}
        asked |= await questions(client)
        print(f"{'question':28}{'median':>9}{'p95':>9}  statements, whole reads")
        fits = [await _told(client, name, ask, repeat, goal) for name, ask in asked.items()]
    return all(fits)


async def _told(
    client: TaskClient, name: str, ask: Callable[[], Awaitable[str]], repeat: int, goal: float
) -> bool:
    """Measure one and print it; whether it is within the goal."""
    cost = await _measured(client.db, ask, repeat)
    fits = cost.p95 < goal and cost.statements <= MOST_STATEMENTS and not cost.scans
    mark = "" if fits else "  (!)"
    times = f"{cost.median:7.1f}ms{cost.p95:7.1f}ms"
    print(f"{name:28}{times}  {cost.statements}  {cost.scans}  {cost.found}{mark}", flush=True)
    return fits


async def _measured(db: Database, ask: Callable[[], Awaitable[str]], repeat: int) -> Cost:
    times, found, before = [], "", await whole_reads(db)
    with counted_statements() as statements:
        for _ in range(repeat):
            began = time.perf_counter()
            found = await ask()
            times.append((time.perf_counter() - began) * 1000)
    each = -(-len(statements) // repeat)
    return Cost(statistics.median(times), p95(times), each, await whole_reads(db) - before, found)


async def whole_reads(db: Database) -> int:
    """How often all of the table has been read, by the only connection that has asked."""
    await db.execute_once(_FLUSH, {}, limit=60)
    return int((await db.execute_once(_SCANS, {}, limit=60)).scalar_one())


def _pages(lists: TaskLists, words: dict[str, str]) -> Callable[[], Awaitable[str]]:
    """The pages of a list, one after the other, and from its begin again at its end."""
    order: Direction = "oldest" if "order" in words else "newest"
    wanted = TaskFilter.read([pair for pair in words.items() if pair[0] != "order"])
    page = TaskPage(())

    async def ask() -> str:
        nonlocal page
        page = await lists.page(wanted, order=order, after=page.next)
        looked = "" if page.looked_at is None else f", looked at {page.looked_at:,}"
        return f"{len(page.tasks)} tasks{looked}"

    return ask


def p95(times: Sequence[float]) -> float:
    """Of some times, at least one."""
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]


@contextmanager
def counted_statements() -> Iterator[list[object]]:
    """Each statement of ours, in a transaction or by itself."""
    found: list[object] = []

    def counting(run: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def note(db: object, statement: object, *rest: object, **options: object) -> object:
            found.append(statement)
            return await run(db, statement, *rest, **options)

        return note

    with (
        patch.object(Transaction, "execute_once", counting(Transaction.execute_once)),
        patch.object(Database, "execute_once", counting(Database.execute_once)),
    ):
        yield found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--settled", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--goal", type=float, default=100.0, help="milliseconds, of each p95")
    given = parser.parse_args()
    within = asyncio.run(main(given.settled, given.waiting, given.repeat, given.goal))
    raise SystemExit(not within)
