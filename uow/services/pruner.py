"""Removes settled tasks whose retention has ended: a duty of the leader."""

import logging
from collections.abc import Callable

from uow.broker.redis import AWAY, RedisClient
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.service import Service
from uow.services.pruning import START, Bookmark, prune_batch

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0


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
        place: Bookmark | None = START
        while place is not None:
            batch, place = await prune_batch(self._db, self._redis, place)
            removed += batch
        if removed:
            logger.info("removed %d settled tasks", removed)
        return removed
