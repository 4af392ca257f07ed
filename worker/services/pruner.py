"""Removes settled tasks whose retention has ended: a duty of the leader.

In small batches, so that no lock is held for long. A row stays while its job may be in Redis: a
stock client's job would be taken for a new one without it.
"""

import logging
from collections.abc import Callable

from worker.broker import keys
from worker.broker.redis import AWAY, RedisClient
from worker.db.database import Database
from worker.db.failures import PASSING
from worker.service import Service

logger = logging.getLogger("worker.pruner")

INTERVAL_SECONDS = 30.0

BATCH = 1000


class Pruner(Service):
    """Deletes in batches until nothing is left to delete."""

    passing = (*PASSING, *AWAY)

    def __init__(
        self,
        db: Database,
        redis: RedisClient,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._db = db
        self._redis = redis

    async def run_once(self) -> int:
        """Remove everything whose retention has ended; returns how many tasks."""
        removed = 0
        while batch := await self._one_batch():
            removed += batch
        if removed:
            logger.info("removed %d settled tasks", removed)
        return removed

    async def _one_batch(self) -> int:
        found = await self._db.execute_once(self._db.queries.expired, {"limit": BATCH})
        rows = found.all()
        if not rows:
            return 0
        payloads = await self._redis.mget([keys.job(row.job_id) for row in rows])
        ids = [row.id for row, payload in zip(rows, payloads, strict=True) if payload is None]
        removed = await self._db.execute_once(self._db.queries.prune, {"ids": ids})
        return len(removed.all())
