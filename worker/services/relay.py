"""Pushes what is committed but not in Redis.

The relay looks at rows whose `dispatch_at` has come: unannounced ones at once (NOTIFY, or the
timer), announced ones a second later, delayed ones when they are nearly due. It pushes what is
missing and leaves alone what is there. Each row is looked at by one relay only, in a transaction
that is committed after the push: a crash in between repeats the look. After that the rescuer
watches the row.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Row

from worker.broker import scripts
from worker.broker.redis import AWAY, RedisClient
from worker.db.database import Database
from worker.db.failures import PASSING
from worker.execution.jobs import by_queue, jobs_of_rows
from worker.failpoints import reach
from worker.service import Service

logger = logging.getLogger("worker.relay")

INTERVAL_SECONDS = 1.0
"""The timer: with the second that an announced row is given, a lost push is 2 s late at most."""

BATCH = 1000
"""Rows per transaction: some ten milliseconds in which their locks are held."""


class Relay(Service):
    """Moves due tasks from Postgres to Redis."""

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
        """Look at everything that is due for a look; returns how many jobs were missing."""
        pushed = 0
        while True:
            looked_at, missing = await self._one_batch()
            pushed += missing
            if looked_at < BATCH:
                return pushed

    async def _one_batch(self) -> tuple[int, int]:
        async with self._db.transaction() as execute:
            found = await execute(self._db.queries.claim_due_for_dispatch, {"limit": BATCH})
            rows = found.all()
            reach("relay_claimed")
            pushed = await self._push_missing([row for row in rows if row.near])
            reach("relay_pushed")
        if pushed:
            logger.debug("pushed %d of %d jobs", pushed, len(rows))
        return len(rows), pushed

    async def _push_missing(self, rows: Sequence[Row[Any]]) -> int:
        """Push what is not there; on a normal day that is nothing, and ids are enough to know."""
        pushed = 0
        for queue, watched in by_queue(rows).items():
            ids = await scripts.missing(self._redis, queue, watched)
            pushed += await scripts.push(
                scripts.caller(self._redis), jobs_of_rows(watched[id_] for id_ in ids)
            )
        return pushed


class Listener(Service):
    """Wakes the relay when a row is committed that nobody has announced.

    Holds a connection of its own, which a pooling proxy could not give; there the timer does alone.
    """

    passing = PASSING

    def __init__(self, db: Database, wake: Callable[[], None]) -> None:
        super().__init__(interval=0)
        self._db = db
        self._notify = wake

    async def run_once(self) -> None:
        """Listen until the connection ends, then raise, so that the loop connects again."""
        ended = asyncio.Event()
        async with self._db.engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None  # noqa: S101 - a connection that was just made
            await connection.run_sync(lambda sync: sync.detach())
            raw.add_termination_listener(lambda _: ended.set())
            await raw.add_listener(f"{self._db.schema}.task", lambda *_: self._notify())
            self._notify()
            await ended.wait()
        raise ConnectionError("the connection that listens for new tasks has ended")
