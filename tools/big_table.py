"""Throwaway servers with tables of any size, for the tools beside it that measure questions."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

from uow import Database, Settings, TaskClient
from uow.db import migrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis

SPAN_SECONDS = 7 * 86_400
"""The time over which the tasks were asked for."""

BATCH = 100_000

WHOLE_ROLLUP = 1_000_000
"""From so many settled tasks on the rollup is as long as it is kept; before, a part of it."""

# A name of 20, one queue but for every hundredth; a user for two of three, of whom "1" has every
# tenth task and "few" every thousandth; of those that are unsettled half are in Redis.
_TASKS = """
INSERT INTO worker.task (id, name, args, state, ended, queue, user_id, worker, tries, attempt,
                         dispatch_at, run_at, created_at, started_at, settled_at, expires_at)
SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '7'
            || lpad(to_hex(n % 4096), 3, '0') || '8' || substr(md5(CAST(n AS text)), 1, 15)
            AS uuid),
       CASE WHEN n % 50000 = 7 THEN 'rare.task' ELSE 'tasks.number_' || n % 20 END,
       json_build_object('order_id', n, 'note', 'a note of some length'),
       state, CASE WHEN state IN ('failed', 'cancelled') THEN state END,
       CASE WHEN n % 100 = 3 THEN 'arq:small' ELSE 'arq:queue' END,
       CASE WHEN n % 1000 = 11 THEN 'few' WHEN n % 10 = 1 THEN '1'
            WHEN n % 3 > 0 THEN CAST(n % 20000 AS text) END,
       'host:' || n / 2 % 10, 0, 1,
       CASE WHEN state IN ('scheduled', 'retrying') THEN now() + n % 86400 * interval '1 second'
            ELSE 'infinity' END,
       CASE WHEN state IN ('scheduled', 'retrying') THEN now() + n % 86400 * interval '1 second'
            ELSE at END,
       at, CASE WHEN NOT :waiting THEN at + n % 700 * interval '1 millisecond' END,
       settled_at, settled_at + interval '7 days'
FROM (SELECT *, CASE WHEN NOT :waiting THEN at + interval '1 second' END AS settled_at,
             CASE WHEN :waiting AND n % 2 = 0 THEN 'queued'
                  WHEN :waiting AND n % 20 = 1 THEN 'retrying'
                  WHEN :waiting THEN 'scheduled' WHEN n % 100 = 1 THEN 'failed'
                  WHEN n % 1000 = 2 THEN 'cancelled' ELSE 'succeeded' END AS state
      FROM (SELECT n, now() - CAST(:span * (:total - n) / :total AS double precision)
                              * interval '1 second' AS at
            FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) AS numbered
     ) AS made
"""

_ERRORS = """
INSERT INTO worker.task_error (task_id, attempt, error_type, message)
SELECT id, 1, 'Error' || (row_number() OVER () % 5), 'it failed' FROM worker.task
WHERE ended = 'failed'
"""

_PROCESSES = """
INSERT INTO worker.worker_process (id, queue, running, heartbeat_at)
SELECT 'host:' || n, 'arq:queue',
       ARRAY(SELECT id FROM worker.task
             WHERE settled_at IS NULL AND dispatch_at = 'infinity' AND worker = 'host:' || n
             ORDER BY id LIMIT 20),
       now() + interval '1 hour'
FROM generate_series(0, 9) AS n
"""

_RUNNING = """
UPDATE worker.task SET state = 'running', started_at = now()
WHERE id IN (SELECT unnest(running) FROM worker.worker_process)
"""

_SCHEDULES = """
INSERT INTO worker.schedule (app, name, version, definition)
SELECT 'shop', 'nightly_' || n, 'v', CAST(:definition AS jsonb) FROM generate_series(1, 50) AS n
"""

_TICKS = """
INSERT INTO worker.schedule_tick (app, name, tick, fate, task_id)
SELECT 'shop', 'nightly_' || row_number() OVER (ORDER BY id) % 50 + 1, created_at, 'fired', id
FROM worker.task WHERE ended = 'cancelled'
"""

# Two days of minutes, and 90 of hours: each of 20 task functions in two queues, with three
# outcomes; and all of them together.
_ROLLUP = """
INSERT INTO worker.{table} ({span}, name, queue, outcome, n, waited, ran)
SELECT date_trunc('{span}', now()) - ago * interval '1 {span}', name, queue, outcome, 100,
       histogram, histogram
FROM generate_series(0, CAST(:last AS int)) AS ago,
     (SELECT 'tasks.number_' || number AS name, queue
      FROM generate_series(0, 19) AS number, unnest(ARRAY['arq:queue', 'arq:small']) AS queue
      UNION ALL VALUES ('', 'arq:queue'), ('', 'arq:small'), ('', '')) AS kind,
     unnest(ARRAY['completed', 'failed', 'retry']) AS outcome,
     (SELECT array_agg(n) AS histogram FROM generate_series(1, 40) AS n) AS one
"""

_ROLLUP_ERRORS = """
INSERT INTO worker.rollup_error (hour, name, error_type, n)
SELECT date_trunc('hour', now()) - ago * interval '1 hour', 'tasks.number_' || name,
       'Error' || type, 10
FROM generate_series(0, CAST(:last AS int)) AS ago, generate_series(0, 19) AS name,
     generate_series(0, 9) AS type
"""

_ROLLUP_ERRORS_OF_DAYS = """
INSERT INTO worker.rollup_error_day (day, name, error_type, n, since, latest)
SELECT date_trunc('day', hour AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', name, error_type, sum(n),
       min(hour), max(hour)
FROM worker.rollup_error GROUP BY 1, 2, 3
"""

_AUDIT = """
INSERT INTO worker.audit (at, who, face, what, task_id, reason)
SELECT at, CASE WHEN n % 50000 = 7 THEN 'rare' ELSE 'ann' END, 'shell', 'retry', id, 'a reason'
FROM (SELECT created_at AS at, id, row_number() OVER (ORDER BY id) AS n
      FROM worker.task WHERE ended IS NOT NULL ORDER BY id) AS done
"""

_DEFINITION = (
    '{"task": "tasks.number_1", "arguments": "{}", "expression": "0 3 * * *", "timezone": "UTC", '
    '"missed": "latest", "grace": 60, "jitter": 0, "overlap": "allow", "queue": "arq:queue", '
    '"priority": 0}'
)


@asynccontextmanager
async def big_table(settled: int, waiting: int) -> AsyncIterator[TaskClient]:
    """A client of servers with so many tasks, the waiting ones among the others."""
    with EmbeddedPostgres(settings={"max_wal_size": "4GB"}) as postgres, EmbeddedRedis() as redis:
        settings = Settings(database_url=SecretStr(postgres.url), redis_url=SecretStr(redis.url))
        async with TaskClient.from_settings(settings) as client:
            await fill(client, settled, waiting)
            yield client


async def fill(client: TaskClient, settled: int, waiting: int) -> None:
    """Make the tables, and fill them."""
    await migrations.upgrade(client.db)
    began = time.monotonic()
    await _fill(client.db, settled, waiting=False)
    await _fill(client.db, waiting, waiting=True)
    await _fill_others(client.db, min(settled / WHOLE_ROLLUP, 1.0))
    await _push(client.db, client.redis)
    print(f"filled in {time.monotonic() - began:.0f} s: {await _size(client.db)}", flush=True)


async def _fill(db: Database, total: int, *, waiting: bool) -> None:
    for first in range(1, total + 1, BATCH):
        values = {"first": first, "last": min(first + BATCH - 1, total), "total": total,
                  "waiting": waiting, "span": SPAN_SECONDS}  # fmt: skip
        await db.execute_once(text(_TASKS), values, limit=600)


async def _fill_others(db: Database, share: float) -> None:
    """Fill the other tables.

    Args:
        share: Of the time for which the rollup is kept.
    """
    minutes, hours = int(48 * 60 * share), int(90 * 24 * share)
    for table, span, last in (("rollup", "minute", minutes), ("rollup_hour", "hour", hours)):
        rollup = text(_ROLLUP.format(table=table, span=span))
        await db.execute_once(rollup, {"last": last}, limit=600)
    await db.execute_once(text(_ROLLUP_ERRORS), {"last": hours}, limit=600)
    for statement in (_ROLLUP_ERRORS_OF_DAYS, _ERRORS, _PROCESSES, _RUNNING, _TICKS, _AUDIT):
        await db.execute_once(text(statement), {}, limit=600)
    await db.execute_once(text(_SCHEDULES), {"definition": _DEFINITION}, limit=600)
    await db.execute_once(text("ANALYZE"), {}, limit=600)


async def _push(db: Database, redis: Redis) -> None:
    """The jobs of those that are to be in Redis, as far as they have a place in a queue there."""
    jobs = text("SELECT CAST(id AS text), queue, date_part('epoch', run_at) * 1000 "
                "FROM worker.task WHERE settled_at IS NULL AND dispatch_at = 'infinity' "
                "AND state = 'queued'")  # fmt: skip
    records: Sequence[Any] = (await db.execute_once(jobs, {}, limit=600)).all()
    by_queue: dict[str, dict[str, float]] = {}
    for job_id, queue, score in records:
        by_queue.setdefault(queue, {})[job_id] = score
    for queue, scores in by_queue.items():
        listed = [*scores.items()]
        for at in range(0, len(listed), 10_000):
            await redis.zadd(queue, dict(listed[at : at + 10_000]))


async def _size(db: Database) -> str:
    size = text("SELECT pg_size_pretty(pg_database_size(current_database()))")
    return str((await db.execute_once(size, {})).scalar_one())
