"""Keeps the queues of the fleet its own: a Redis that was emptied is told again whose they are.

A duty of the leader.
"""

import logging
import time
from collections.abc import Callable

from uow.broker.redis import AWAY, RedisClient
from uow.db import fleet
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.errors import SchemaError
from uow.service import Service
from uow.tasks.queue_owner import claim_queues, identify, say_alive

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 5.0

REPORT_SECONDS = 60.0
"""Between two reports of a queue that is another's, and of errors."""


class QueueOwnership(Service):
    """Takes what is nobody's, says that we are there, and what has become another's."""

    passing = (*PASSING, *AWAY, SchemaError)
    # Shorter than `ALIVE_SECONDS`, or one error would let others take over what we serve.
    pause_after_error = INTERVAL_SECONDS
    pause_cap = INTERVAL_SECONDS
    report_seconds = REPORT_SECONDS

    def __init__(
        self,
        db: Database,
        redis: RedisClient,
        app: str,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._db = db
        self._redis = redis
        self._app = app
        self._told_at = float("-inf")

    async def run_once(self) -> None:
        """One look at the queues that workers of this database serve."""
        served = await fleet.queues(self._db)
        us = await identify(self._db, self._app)
        queues = [row.queue for row in served if row.live]
        others = await claim_queues(self._redis, queues, us)
        await say_alive(self._redis, (queue for queue in queues if queue not in others))
        if not others or time.monotonic() - self._told_at < REPORT_SECONDS:
            return
        self._told_at = time.monotonic()
        for queue, owner in others.items():
            logger.error("queue %r is served here, by workers of %s, but it has become that of %s: "
                         "jobs are lost to the other", queue, us, owner)  # fmt: skip
