"""Measures every page of `worker api` over HTTP, on tables of any size.

    uv run tools/page_costs.py [--settled 1000000] [--waiting 100000] [--repeat 40] [--goal 100]

Starts a Postgres, a Redis and the API of its own, fills their tables as `list_costs.py` does, and
asks for each page again and again over one connection, up to its last byte; what a browser does
with it is not in it. Prints the median and the 95th percentile of each, how many statements it took
at most (beside those that begin, bound and end a transaction), how often it has read all of a table
`task`, and how large it is.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from statistics import median

import httpx
from big_table import big_table
from list_costs import MOST_STATEMENTS, Cost, counted_statements, p95, whole_reads
from served_api import serving
from sqlalchemy import text

from uow import Registry, TaskClient, TaskContext, task
from uow.db.bounded import BOUND

PAGES = {
    "overview": "/ui/", "overview, 30 minutes": "/ui/?last=30",
    "overview, 3 hours": "/ui/?last=180",
    "tasks": "/ui/tasks", "tasks, failed": "/ui/tasks?state=failed",
    "tasks, rare name": "/ui/tasks?name=rare.task", "tasks, a user's": "/ui/tasks?user=few",
    "tasks, an argument": "/ui/tasks?arg:order_id=77",
    "queues": "/ui/queues", "queue": "/ui/queues/arq:queue",
    "queue, 3 hours": "/ui/queues/arq:queue?last=180",
    "names": "/ui/names", "name": "/ui/names/tasks.number_3",
    "name, 3 hours": "/ui/names/tasks.number_3?last=180",
    "users": "/ui/users", "user": "/ui/users/77", "user, big": "/ui/users/1",
    "schedules": "/ui/schedules", "workers": "/ui/workers",
    "failures": "/ui/failures", "failures, 90 days": "/ui/failures?since=90d",
    "audit": "/ui/audit", "audit, one actor": "/ui/audit?who=rare", "bulk acts": "/ui/bulk",
    "find": "/ui/find?q=tasks.number_3",
}  # fmt: skip
"""A path of each; the pages of tasks are asked for one task after the other."""

_SOME = text("""
    (SELECT 'settled' AS kind, id FROM worker.task WHERE settled_at IS NOT NULL
     ORDER BY id DESC LIMIT 50)
    UNION ALL (SELECT 'failed', id FROM worker.task WHERE ended = 'failed'
               ORDER BY id DESC LIMIT 50)
    UNION ALL (SELECT 'waiting', id FROM worker.task
               WHERE settled_at IS NULL AND dispatch_at = 'infinity' LIMIT 50)
""")


async def main(settled: int, waiting: int, repeat: int, goal: float) -> bool:
    """Fill, measure, print; whether all are within the goal."""
    async with (
        big_table(settled, waiting) as client,
        serving(client.settings, _registry()) as address,
        httpx.AsyncClient(base_url=address, timeout=60) as http,
    ):
        pages = {name: [path] for name, path in PAGES.items()} | await _of_tasks(client)
        print(f"{'page':28}{'median':>9}{'p95':>9}  statements, whole reads, kB")
        fits = [
            await _told(client, http, name, paths, repeat, goal) for name, paths in pages.items()
        ]
    return all(fits)


def _registry() -> Registry:
    """What the API must have: a task function."""
    registry = Registry()

    @task("tasks.number_1", registry=registry)
    async def number_1(ctx: TaskContext, order_id: int, note: str) -> None:
        """One of those in the table."""

    return registry


async def _of_tasks(client: TaskClient) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in (await client.db.execute_once(_SOME, {}, limit=60)).mappings():
        found.setdefault(f"task, {row['kind']}", []).append(f"/ui/tasks/{row['id']}")
    return found


async def _told(
    client: TaskClient, http: httpx.AsyncClient, name: str, paths: Sequence[str], repeat: int,
    goal: float,
) -> bool:  # fmt: skip
    """Measure one and print it; whether it is within the goal."""
    cost = await _measured(client, http, paths, repeat)
    fits = cost.p95 < goal and cost.statements <= MOST_STATEMENTS and not cost.scans
    mark = "" if fits else "  (!)"
    times = f"{cost.median:7.1f}ms{cost.p95:7.1f}ms"
    print(f"{name:28}{times}  {cost.statements}  {cost.scans}  {cost.found}{mark}", flush=True)
    return fits


async def _measured(
    client: TaskClient, http: httpx.AsyncClient, paths: Sequence[str], repeat: int
) -> Cost:
    """The first answer is not counted: what it loads is kept."""
    turn, times, most, size = cycle(paths), [], 0, 0
    await _ask(http, next(turn))
    before = await whole_reads(client.db)
    for _ in range(repeat):
        with counted_statements() as statements:
            began = time.perf_counter()
            size = await _ask(http, next(turn))
            times.append((time.perf_counter() - began) * 1000)
        asking = [one for one in statements if getattr(one, "template", None) is not BOUND]
        most = max(most, len(asking))
    scans = await whole_reads(client.db) - before
    return Cost(median(times), p95(times), most, scans, f"{size / 1000:.0f}")


async def _ask(http: httpx.AsyncClient, path: str) -> int:
    """Returns how many bytes the page has.

    Raises:
        SystemExit: There is no such page.
    """
    answer = await http.get(path, headers={"accept": "text/html"})
    if answer.is_error:
        raise SystemExit(f"{path} was answered with {answer.status_code}: {answer.text[:500]}")
    return len(answer.content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--settled", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--goal", type=float, default=100.0, help="milliseconds, of each p95")
    given = parser.parse_args()
    within = asyncio.run(main(given.settled, given.waiting, given.repeat, given.goal))
    raise SystemExit(not within)
