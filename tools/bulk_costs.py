"""What a bulk retry costs: how long it takes, and how long its longest statement.

    uv run tools/bulk_costs.py [TASKS] [SETTLED]

On throwaway servers: TASKS failed tasks (100,000) among SETTLED that have succeeded (400,000).
Times are the client's, so they have the way to the server in them.
"""

import asyncio
import sys
import time
from collections import defaultdict

from pydantic import SecretStr
from sqlalchemy import text

from uow import Settings, TaskClient
from uow.acts.actor import Actor
from uow.acts.bulk import BulkActs
from uow.db import migrations
from uow.db.statement import SILENT_SECONDS, TEMPLATES, Records, Statement
from uow.db.transaction import Transaction
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.questions.filters import TaskFilter
from uow.services.bulk_runner import BulkRunner

FILL = text(
    """
    INSERT INTO worker.task (name, args, state, ended, settled_at, expires_at, dispatch_at, attempt)
    SELECT 'billing.charge', '{"order_id": 7}', kind.state,
           CASE kind.state WHEN 'failed' THEN 'failed' END,
           now(), now() + interval '7 days', 'infinity', 1
    FROM generate_series(1, :count) AS n,
         (SELECT CAST(:state AS text) AS state) AS kind
    """
)

seconds: dict[str, list[float]] = defaultdict(list)
run = Transaction.execute_once


async def timed(
    self: Transaction, statement: Statement, *, limit: float = SILENT_SECONDS
) -> Records:
    """`Transaction.execute_once`, and how long it took."""
    began = time.monotonic()
    try:
        return await run(self, statement, limit=limit)
    finally:
        name = next(name for name, one in TEMPLATES.items() if one is statement.template)
        seconds[name].append(time.monotonic() - began)


async def measure(settings: Settings, tasks: int, settled: int) -> None:
    """Fill the table, run the act, say what it took."""
    async with TaskClient.from_settings(settings) as client:
        await migrations.upgrade(client.db)
        for state, count in (("succeeded", settled), ("failed", tasks)):
            await client.db.execute_once(FILL, {"state": state, "count": count}, limit=600)
        acts, runner, by = BulkActs(client), BulkRunner(client), Actor("bench", "shell")
        Transaction.execute_once = timed  # type: ignore[method-assign]
        began = time.monotonic()
        view = await acts.preview("retry", TaskFilter.read([("state", "failed")]), by)
        print(f"preview: {view.row.count:,} tasks in {time.monotonic() - began:.2f} s")
        await acts.confirm(view.row.id, by)
        began = time.monotonic()
        batches = await runner.run_once()
        took = time.monotonic() - began
        view = await acts.get(view.row.id)
    print(
        f"{view.state}: {view.row.done:,} tasks in {batches} batches, {took:.1f} s",
        view.row.left_alone,
    )
    for name, times in sorted(seconds.items(), key=lambda one: -max(one[1])):
        mean, longest = 1000 * sum(times) / len(times), 1000 * max(times)
        print(f"{name:22} {len(times):5} times {mean:7.1f} ms, the longest {longest:7.1f} ms")


def main() -> None:
    """On servers of its own."""
    tasks, settled = [*map(int, sys.argv[1:]), *(100_000, 400_000)[len(sys.argv) - 1 :]]
    with EmbeddedPostgres() as postgres, EmbeddedRedis() as redis:
        settings = Settings(database_url=SecretStr(postgres.url), redis_url=SecretStr(redis.url))
        asyncio.run(measure(settings, tasks, settled))


if __name__ == "__main__":
    main()
