"""Measures the lists of tasks on a table of any size.

    uv run tools/list_costs.py [--settled 1000000] [--waiting 100000] [--repeat 40]

Starts a Postgres of its own, fills its table by SQL, and asks for each list again and again, with
fresh places in it. Prints the median and the 95th percentile of each, how many statements it took,
and what it found or how far it looked. Filling a million rows takes a minute or two.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sqlalchemy import text

from uow import Database
from uow.db import migrations
from uow.db.listing import Direction
from uow.db.transaction import Transaction
from uow.embedded import EmbeddedPostgres
from uow.questions.filters import TaskFilter
from uow.questions.lists import TaskLists, TaskPage
from uow.questions.one_task import look_at
from uow.questions.redaction import Redaction
from uow.settings.of_looking import REDACTED_KEYS
from uow.tasks.registry import Registry

GOAL_MS = 100.0
"""The 95th percentile that no list may pass with a million rows."""

SPAN_SECONDS = 7 * 86_400
"""The time over which the tasks were asked for."""

BATCH = 100_000

FILL = """
INSERT INTO worker.task (id, name, args, state, ended, queue, user_id, worker, tries, attempt,
                         dispatch_at, run_at, created_at, started_at, settled_at, expires_at)
SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '7'
            || lpad(to_hex(n % 4096), 3, '0') || '8' || substr(md5(CAST(n AS text)), 1, 15)
            AS uuid),
       CASE WHEN n % 50000 = 7 THEN 'rare.task' ELSE 'tasks.number_' || n % 20 END,
       json_build_object('order_id', n, 'note', 'a note of some length'),
       state, CASE WHEN state IN ('failed', 'cancelled') THEN state END,
       CASE WHEN n % 100 = 3 THEN 'arq:small' ELSE 'arq:queue' END,
       CASE WHEN n % 3 > 0 THEN CAST(CASE WHEN n % 10 = 1 THEN 1 ELSE n % 20000 END AS text) END,
       'host:' || n % 10, 0, 1,
       CASE WHEN state IN ('scheduled', 'retrying') THEN now() + n % 86400 * interval '1 second'
            ELSE 'infinity' END,
       at, at, at, settled_at, settled_at + interval '7 days'
FROM (SELECT *, CASE WHEN :waiting THEN NULL ELSE at + interval '1 second' END AS settled_at,
             CASE WHEN :waiting AND n % 2 = 0 THEN 'queued'
                  WHEN :waiting AND n % 20 = 1 THEN 'retrying'
                  WHEN :waiting THEN 'scheduled' WHEN n % 100 = 1 THEN 'failed'
                  WHEN n % 1000 = 2 THEN 'cancelled' ELSE 'succeeded' END AS state
      FROM (SELECT n, now() - CAST(:span * (:total - n) / :total AS double precision)
                              * interval '1 second' AS at
            FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) AS numbered
     ) AS made
"""

ERRORS = """
INSERT INTO worker.task_error (task_id, attempt, error_type, message)
SELECT id, 1, 'Error' || (row_number() OVER () % 5), 'it failed' FROM worker.task
WHERE ended = 'failed'
"""

RUNNING = """
INSERT INTO worker.worker_process (id, queue, running)
SELECT 'host:' || n, 'arq:queue', ARRAY(SELECT id FROM worker.task WHERE state = 'queued'
                                        ORDER BY id OFFSET 20 * n LIMIT 20)
FROM generate_series(0, 9) AS n
"""

STARTED = """
UPDATE worker.task SET state = 'running', started_at = now()
WHERE id IN (SELECT unnest(running) FROM worker.worker_process)
"""

LISTS: dict[str, dict[str, str]] = {
    "all": {}, "oldest": {"order": "oldest"},
    "succeeded": {"state": "succeeded"}, "failed": {"state": "failed"},
    "failed or cancelled": {"state": "failed,cancelled"}, "queued": {"state": "queued"},
    "scheduled": {"state": "scheduled"}, "retrying": {"state": "retrying"},
    "running": {"state": "running"},
    "all but succeeded": {"state": "queued,scheduled,retrying,running,failed,cancelled"},
    "common name": {"name": "tasks.number_3"}, "rare name": {"name": "rare.task"},
    "no such name": {"name": "not.there"}, "prefix": {"name": "tasks.*"},
    "rare prefix": {"name": "rare.*"}, "small queue": {"queue": "arq:small"},
    "no such queue": {"queue": "not:there"}, "big user": {"user": "1"}, "user": {"user": "77"},
    "big user, rare name": {"user": "1", "name": "rare.task"},
    "big user, failed": {"user": "1", "state": "failed"},
    "failed, rare name": {"state": "failed", "name": "rare.task"},
    "queued, no such name": {"state": "queued", "name": "not.there"},
    "scheduled, no such name": {"state": "scheduled", "name": "not.there"},
    "since": {"since": "12h"}, "until": {"until": "3d"},
    "settled": {"settled-since": "12h", "settled-until": "6h"},
    "error": {"error": "Error1"}, "error, no such queue": {"error": "Error1", "queue": "not:there"},
    "worker": {"worker": "host:3"}, "running of a worker": {"state": "running", "worker": "host:3"},
    "argument": {"arg:order_id": "77"},
    "argument, failed": {"arg:order_id": "77", "state": "failed"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What a list costs: milliseconds, and statements beside BEGIN and COMMIT."""

    median: float
    p95: float
    statements: int
    last: str


async def main(settled: int, waiting: int, repeat: int) -> bool:
    """Fill, measure, print; whether all are within the goal."""
    async with filled(settled, waiting) as db:
        lists = TaskLists(db, Redaction(REDACTED_KEYS, Registry()))
        costs = {name: await measured(lists, words, repeat) for name, words in LISTS.items()}
        costs["one task"] = await measured_one(db, lists, repeat)
    print(f"{'list':28}{'median':>9}{'p95':>9}  statements")
    for name, cost in costs.items():
        times = f"{cost.median:7.1f}ms{cost.p95:7.1f}ms"
        print(f"{name:28}{times}  {cost.statements}  {cost.last}")
    return all(cost.p95 < GOAL_MS for cost in costs.values())


@asynccontextmanager
async def filled(settled: int, waiting: int) -> AsyncIterator[Database]:
    """A database with so many tasks, the waiting ones among the others."""
    with EmbeddedPostgres() as server:
        async with Database(server.url) as db:
            await migrations.upgrade(db)
            began = time.monotonic()
            for first in range(1, settled + 1, BATCH):
                await fill(db, first, min(first + BATCH - 1, settled), settled, waiting=False)
            for first in range(1, waiting + 1, BATCH):
                await fill(db, first, min(first + BATCH - 1, waiting), waiting, waiting=True)
            for statement in (ERRORS, RUNNING, STARTED, "ANALYZE"):
                await db.execute_once(text(statement), {}, limit=600)
            print(f"filled in {time.monotonic() - began:.0f} s")
            yield db


async def fill(db: Database, first: int, last: int, total: int, *, waiting: bool) -> None:
    """Write the tasks from number `first` to `last`."""
    values = {"first": first, "last": last, "total": total, "waiting": waiting,
              "span": SPAN_SECONDS}  # fmt: skip
    await db.execute_once(text(FILL), values, limit=600)


async def measured(lists: TaskLists, words: dict[str, str], repeat: int) -> Cost:
    """The first pages of a list, one after the other, and from its begin again at its end."""
    order: Direction = "oldest" if "order" in words else "newest"
    wanted = TaskFilter.read([pair for pair in words.items() if pair[0] != "order"])
    times, after, page = [], None, TaskPage(())
    with counted() as statements:
        for _ in range(repeat):
            began = time.perf_counter()
            page = await lists.page(wanted, order=order, after=after)
            times.append((time.perf_counter() - began) * 1000)
            after = page.next
    looked = "" if page.looked_at is None else f", looked at {page.looked_at:,}"
    return cost_of(times, len(statements) // repeat, f"{len(page.tasks)} tasks{looked}")


async def measured_one(db: Database, lists: TaskLists, repeat: int) -> Cost:
    """One task that has failed, with its error."""
    failed = (await lists.page(TaskFilter.read([("state", "failed")]))).tasks
    redaction, times = Redaction(REDACTED_KEYS, Registry()), []
    with counted() as statements:
        for n in range(repeat):
            began = time.perf_counter()
            await look_at(db, failed[n % len(failed)].id, redaction)
            times.append((time.perf_counter() - began) * 1000)
    return cost_of(times, len(statements) // repeat, "")


def cost_of(times: Sequence[float], statements: int, last: str) -> Cost:
    """Of measured milliseconds."""
    p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
    return Cost(statistics.median(times), p95, statements, last)


@contextmanager
def counted() -> Iterator[list[None]]:
    """An element for each statement of a transaction of ours."""
    found: list[None] = []
    run = Transaction.execute_once

    async def note(self: Transaction, *args: object, **options: object) -> object:
        found.append(None)
        return await run(self, *args, **options)  # type: ignore[arg-type]

    Transaction.execute_once = note  # type: ignore[assignment, method-assign]
    try:
        yield found
    finally:
        Transaction.execute_once = run  # type: ignore[method-assign]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--settled", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=40)
    given = parser.parse_args()
    raise SystemExit(not asyncio.run(main(given.settled, given.waiting, given.repeat)))
