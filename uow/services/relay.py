"""Pushes what is committed but not in Redis.

The relay looks at rows whose `dispatch_at` has come: unannounced ones at once (NOTIFY, or the
timer), announced ones a second later, delayed ones when they are nearly due. It pushes what is
missing and leaves alone what is there. Each row is looked at by one relay only, in a transaction
that is committed after the push: a crash in between repeats the look. After that the rescuer
watches the row.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from uow.attempt.pauses import Pauses
from uow.broker import scripts
from uow.broker.redis import AWAY, RedisClient
from uow.db import delivery
from uow.db.database import Database
from uow.db.delivery import Pushable
from uow.db.failures import PASSING
from uow.events.spine import Spine
from uow.failpoints import reach
from uow.service import Service
from uow.services.refused import Refusal, settle_refused, sifted
from uow.settings.parts import RETENTION_SECONDS
from uow.tasks.jobs import by_queue, jobs_of_rows

logger = logging.getLogger(__name__)

_rng = random.Random()  # noqa: S311 - spreads looks, guards nothing

INTERVAL_SECONDS = 1.0
"""The timer: with the second that an announced row is given, a lost push is 2 s late at most."""

BATCH = 1000
"""Rows per transaction: some ten milliseconds in which their locks are held."""

SPREAD_SECONDS = (0.01, 1.0)
"""How far the relays that come too late spread their looks: at first, and at most."""

PATIENCE = 2
"""A relay that came too late so often leaves what is new to the one that came first."""

MOST_LATE = 9
"""From then on its looks are spread as far as they ever are."""

PAUSE = "pause"
"""What is said where new tasks are told of, when something is paused or goes on."""

LISTEN_SECONDS = 10.0
"""How long the connection that listens is left in silence, and how long it may take to answer."""


class Relay(Service):
    """Moves due tasks from Postgres to Redis.

    Args:
        retention: Seconds that a task is kept that had to be failed here.
        events: Whom to tell of what is settled here.
        pauses: What is told of those that its looks find.
    """

    passing = (*PASSING, *AWAY)

    def __init__(
        self,
        db: Database,
        redis: RedisClient,
        on_death: Callable[[BaseException], None] | None = None,
        *,
        retention: float = RETENTION_SECONDS,
        events: Spine | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._pauses = pauses
        self._db = db
        self._redis = redis
        self._events = events
        self._retention = retention
        self._too_late = 0
        self._told = False
        self._look_later: asyncio.TimerHandle | None = None
        self._in_doubt = False

    def wake(self) -> None:
        """There is something new, and every relay of the fleet has heard of it.

        The one that found what was new before looks at once. The others look a moment later, each
        at another time, if that is still there: should the first one be gone, one of them is next.
        """
        if self._too_late < PATIENCE:
            self._look_as_told()
        elif self._look_later is None:
            first, most = SPREAD_SECONDS
            spread = min(first * 2.0 ** (self._too_late - PATIENCE), most)
            later = _rng.uniform(0, spread)
            self._look_later = asyncio.get_running_loop().call_later(later, self._look_as_told)

    def look_now(self) -> None:
        """There is something new, and only this relay has heard of it."""
        super().wake()

    async def stop(self) -> None:
        """End; nothing looks later."""
        self._forget_later()
        await super().stop()

    async def run_once(self) -> int:
        """Look at everything that is due for a look; returns how many jobs were missing."""
        told, self._told = self._told, False
        found = pushed = 0
        while await self._is_any_due():
            looked_at, missing = await self._one_batch()
            found += looked_at
            pushed += missing
            if not looked_at:  # another relay has them
                break
        if told:
            # Who was lucky once is not the first at once: the two would come together each time.
            self._too_late = self._too_late // 2 if found else min(self._too_late + 1, MOST_LATE)
        return pushed

    def _look_as_told(self) -> None:
        self._forget_later()
        self._told = True
        self.look_now()

    def _forget_later(self) -> None:
        later, self._look_later = self._look_later, None
        if later is not None:
            later.cancel()

    async def _is_any_due(self) -> bool:
        due, pauses = await delivery.look(self._db)
        if self._pauses is not None:
            await self._pauses.note(self._db, pauses)
        return due

    async def _one_batch(self) -> tuple[int, int]:
        """Claim, push, commit; after a failure only one row, if Redis answers at all."""
        limit = 1 if self._in_doubt else BATCH
        if self._in_doubt:
            await self._redis.ping()
        self._in_doubt = True
        async with self._db.transaction() as transaction:
            found, near = await delivery.claim_due(transaction, limit)
            reach("relay_claimed")
            pushed, refused = await self._push_missing(near)
            reach("relay_pushed")
        self._in_doubt = False
        await settle_refused(self._db, refused, self._retention, self._events)
        if pushed:
            logger.debug("pushed %d of %d jobs", pushed, found)
        return found, pushed

    async def _push_missing(self, rows: Sequence[Pushable]) -> tuple[int, list[Refusal[Pushable]]]:
        """Push what is not there; on a normal day that is nothing, and ids are enough to know.

        Should this process end before it has settled what was refused, the rescuer meets it next.
        """
        pushed: int = 0
        refused: list[Refusal[Pushable]] = []
        for watched in by_queue(rows).values():
            some, others = await sifted(list(watched.values()), self._push_missing_of_queue)
            pushed += some
            refused += others
        return pushed, refused

    async def _push_missing_of_queue(self, rows: Sequence[Pushable]) -> int:
        watched = {row.job_id: row for row in rows}
        ids = await scripts.missing(self._redis, rows[0].queue, watched)
        return await scripts.push(
            scripts.caller(self._redis), jobs_of_rows(watched[id_] for id_ in ids)
        )


class Listener(Service):
    """Wakes the relay when a row is committed that nobody has announced, and when a pause changes.

    Holds a connection of its own, which a pooling proxy could not give; there the timer does alone.
    A connection that hears nothing may be dead without knowing: so it is asked from time to time.
    """

    passing = PASSING

    def __init__(
        self,
        db: Database,
        wake: Callable[[], None],
        on_pause: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(interval=0)
        self._db = db
        self._notify = wake
        self._on_pause = on_pause or wake

    async def run_once(self) -> None:
        """Listen until the connection ends, then raise, so that the loop connects again."""
        ended = asyncio.Event()
        async with self._db.engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            assert raw is not None  # noqa: S101 - a connection that was just made
            await connection.run_sync(lambda sync: sync.detach())
            raw.add_termination_listener(lambda _: ended.set())
            await raw.add_listener(f"{self._db.schema}.task", self._hear)
            self._notify()
            while not await _happens(ended, LISTEN_SECONDS):
                await _ask(raw)
        raise ConnectionError("the connection that listens for new tasks has ended")

    def _hear(self, connection: object, pid: int, channel: str, said: object) -> None:
        """New tasks are for one relay of the fleet; a pause is for each process."""
        self._on_pause() if said == PAUSE else self._notify()


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


async def _ask(raw: Any) -> None:
    """One round trip; a connection that does not answer is ended."""
    ending = asyncio.get_running_loop().call_later(LISTEN_SECONDS, raw.terminate)
    try:
        await raw.execute("SELECT 1")
    finally:
        ending.cancel()
