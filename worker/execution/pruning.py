"""Removing settled tasks whose retention has ended.

In small batches, so that no lock is held for long. A row stays while its job may be in Redis: a
stock client's job would be taken for a new one without it.
"""

from redis.asyncio import Redis

from worker.broker import keys
from worker.db.database import Execute
from worker.db.queries import Queries

BATCH = 1000


async def prune_batch(execute: Execute, queries: Queries, redis: Redis) -> int:
    """Remove a batch; returns how many tasks, 0 when nothing is left to remove."""
    rows = (await execute(queries.expired, {"limit": BATCH})).all()
    if not rows:
        return 0
    payloads = await redis.mget([keys.job(row.job_id) for row in rows])
    ids = [row.id for row, payload in zip(rows, payloads, strict=True) if payload is None]
    return len((await execute(queries.prune, {"ids": ids})).all())
