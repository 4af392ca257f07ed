"""Brings back what a crash has taken: the tasks of dead processes, and what Redis has lost.

A duty of the leader. It

1. takes the tasks of dead processes back and counts the death (`uow.db.rescue`);

and each time that it looks at Redis it

2. compares a page of the unsettled tasks with Redis and pushes what is missing there; all pages at
   once when Redis was away or has lost data, and between them it goes on taking back;
3. keeps a page of each queue from stock arq's own time limits, and says which queues of the tasks
   it has seen are served by nobody.

Postgres is only read for the comparison, through an index, a page at a time: a backlog costs no
write, however long it waits.
"""

import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from redis.exceptions import ResponseError

from uow.attempt.rescue import take_back
from uow.broker import keys, scripts
from uow.broker.redis import AWAY, RedisClient
from uow.broker.refusals import is_refusal
from uow.broker.scripts import score
from uow.db import delivery, fleet
from uow.db.database import Database
from uow.db.delivery import Pushable
from uow.db.failures import PASSING
from uow.db.fragments import BEAT_MARGIN_SECONDS
from uow.db.rescue import Rescued
from uow.events.spine import Spine
from uow.service import Service
from uow.services.presence import Presence
from uow.services.refused import settle_refused, sifted
from uow.services.settled_by_arq import settle_as_arq_did
from uow.services.unserved import Unserved
from uow.settings.environment import Settings
from uow.tasks.jobs import by_queue, jobs_of_rows

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0

LOOK_SECONDS = 2.0
"""Between two looks at Redis."""

PAGE = 2000
"""Rows per page: some ten milliseconds of each server."""

ROUND_SECONDS = 30.0
"""A round through all unsettled tasks is begun no more often than this while Redis is well."""

SECOND_LOOK_SECONDS = BEAT_MARGIN_SECONDS + 1.0
"""A refill passes over tasks that have just been started, as their process may not have said so
yet. Should their attempts have ended meanwhile without a word, a second look finds them."""

PULSE_SECONDS = 86_400
"""A fleet that was gone for longer compares everything when it comes back."""

_FIRST = UUID(int=0)


class Rescuer(Service):
    """Takes back, compares, refills."""

    passing = (*PASSING, *AWAY)

    def __init__(
        self,
        db: Database,
        redis: RedisClient,
        settings: Settings,
        presence: Presence,
        *,
        wake_relay: Callable[[], None],
        on_death: Callable[[BaseException], None] | None = None,
        events: Spine | None = None,
    ) -> None:
        super().__init__(min(INTERVAL_SECONDS, settings.lease_seconds / 10), on_death)
        self._db = db
        self._redis = redis
        self._events = events
        self._settings = settings
        self._presence = presence
        self._wake_relay = wake_relay
        self._look_seconds = min(LOOK_SECONDS, settings.lease_seconds / 2)
        self._looked_at = float("-inf")
        self._was_away = False
        self._after: UUID | None = _FIRST
        self._round_began = float("-inf")
        self._refill_again_at = float("inf")
        self._ranks: dict[str, int] = {}
        self._took_back_at = float("-inf")
        self._unserved = Unserved()

    async def run_once(self) -> None:
        """Take back, and look at Redis if it is time."""
        await self.take_back()
        if time.monotonic() - self._looked_at >= self._look_seconds:
            self._looked_at = time.monotonic()
            await self.look_at_redis()

    async def look_at_redis(self) -> None:
        """Find out what it has lost, and put that back."""
        try:
            if await self.redis_has_lost_data() or self._was_away:
                await self.refill()
                self._was_away = False
                self._refill_again_at = time.monotonic() + SECOND_LOOK_SECONDS
                await self.leave_pulse()
            elif time.monotonic() > self._refill_again_at:
                await self.refill()
                self._refill_again_at = float("inf")
                await self.leave_pulse()
            else:
                await self.leave_pulse()  # first: a page that fails is no reason to compare all
                await self._next_page()
            await self._tend_queues()
        except AWAY:
            self._was_away = True  # who knows what it will remember when it is back
            raise

    async def take_back(self) -> int:
        """Take the tasks of dead processes back; returns how many there were."""
        self._took_back_at = time.monotonic()
        if not self._presence.may_judge:
            return 0
        rows = await take_back(self._db, self._settings, events=self._events)
        if rows:  # let others start them, without waiting for their leases to run out
            await sifted(rows, self._release)  # what is refused there is the relay's to settle
            self._wake_relay()
        return len(rows)

    async def _release(self, rows: Sequence[Rescued]) -> int:
        await scripts.release(self._redis, [
            (row.queue, row.job_id, score(row.due_ms, row.priority)) for row in rows
        ])  # fmt: skip
        return len(rows)

    async def redis_has_lost_data(self) -> bool:
        """Whether Redis has forgotten what the fleet's leader, whoever that was, has left there."""
        left = await fleet.find_pulse(self._db)
        return left is None or not await self._redis.delete(keys.pulse(left))

    async def leave_pulse(self) -> None:
        """Leave something in Redis by which the next look, whoever does it, knows its data.

        A leader that ends between look and pulse, as in the middle of a refill, leaves none: then
        the next one compares everything.
        """
        left = uuid4().hex
        await fleet.note_pulse(self._db, left)
        await self._redis.set(keys.pulse(left), "", ex=PULSE_SECONDS)

    async def refill(self) -> int:
        """Compare every unsettled task with Redis now; returns how many were missing there.

        A death is not left waiting for the end of it.
        """
        began = time.monotonic()
        missing = await self._compare_page(_FIRST)
        while self._after is not None:
            if time.monotonic() - self._took_back_at >= self.interval:
                await self.take_back()
            missing += await self._compare_page(self._after)
        self._round_began = began
        if missing:
            logger.warning("Redis had lost %d jobs; they are back after %.1f s",
                           missing, time.monotonic() - began)  # fmt: skip
        return missing

    async def _next_page(self) -> None:
        if self._after is None:
            if time.monotonic() - self._round_began < ROUND_SECONDS:
                return
            self._after, self._round_began = _FIRST, time.monotonic()
        await self._compare_page(self._after)

    async def _compare_page(self, after: UUID) -> int:
        rows = await delivery.watched(self._db, after, PAGE)
        if after == _FIRST:
            self._unserved.begin_round()
        self._unserved.note(rows)
        missing: int = 0
        for watched in by_queue(rows).values():
            some, refused = await sifted(list(watched.values()), self._push_lost)
            missing += some
            await settle_refused(self._db, refused, self._settings.retention, self._events)
        self._after = rows[-1].id if len(rows) == PAGE else None
        return missing

    async def _push_lost(self, rows: Sequence[Pushable]) -> int:
        """Push what Redis has lost of the rows of one queue."""
        watched = {row.job_id: row for row in rows}
        ids = await scripts.missing(self._redis, rows[0].queue, watched)
        gone = await self._still_as_they_were([watched[id_] for id_ in ids])
        if not gone:
            return 0
        retention = self._settings.retention
        lost = await settle_as_arq_did(self._db, self._redis, gone, retention, self._events)
        return await scripts.push(scripts.caller(self._redis), jobs_of_rows(lost))

    async def _still_as_they_were(self, rows: list[Pushable]) -> list[Pushable]:
        """Those that have not been started or settled since they were read: they are no loss."""
        if not rows:
            return []
        attempts = await delivery.attempts_of_unsettled(self._db, [row.id for row in rows])
        return [row for row in rows if attempts.get(row.id) == row.attempt]

    async def _tend_queues(self) -> None:
        queues = await fleet.queues(self._db)
        late = self._unserved.late([one.queue for one in queues if one.live])
        self._unserved.tell(late, await self._still_as_they_were(late))
        refused: dict[str, ResponseError] = {}
        for one in queues:
            try:
                await self._tend(one.queue)
            except ResponseError as error:
                if not is_refusal(error):
                    raise
                refused[one.queue] = error
        for queue, said in refused.items():
            logger.error("Redis has something else in the place of queue %r: %s", queue, said)

    async def _tend(self, queue: str) -> None:
        if not await self._redis.zcard(queue):
            return
        rank = self._ranks.get(queue, 0)
        page = await scripts.tend(self._redis, queue, rank, self._settings.lease_seconds)
        self._ranks[queue] = rank + scripts.PAGE if page == scripts.PAGE else 0
