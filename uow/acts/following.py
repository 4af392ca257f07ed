"""What follows the commit of an act: Redis is told.

All of it is a hint. Should it be lost, a cancelled attempt finds out at its commit, and the relay
pushes what is to run.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from uow.broker import keys, scripts
from uow.broker.redis import AWAY, RedisClient
from uow.broker.scripts import Job
from uow.client import TaskClient
from uow.db.delivery import Pushable
from uow.db.statement import Statements
from uow.events.spine import Spine
from uow.tasks.jobs import jobs_of_rows
from uow.tasks.settled import tell_settled

logger = logging.getLogger(__name__)

HELD_SECONDS = 0.1
"""A job whose attempt has just ended is held until its worker has finished it in Redis."""

LOOKS = 5
"""How often a held job is looked at."""


class ActFollowing:
    """Tells Redis, and whoever listens, of acts that were committed.

    Args:
        announce: Takes the jobs of what runs again.
    """

    def __init__(
        self,
        db: Statements,
        redis: RedisClient,
        announce: Callable[[Sequence[Job]], None],
        events: Spine,
    ) -> None:
        self._db = db
        self._redis = redis
        self._announce = announce
        self._events = events

    @classmethod
    def of(cls, client: TaskClient) -> "ActFollowing":
        """By what an open client has."""
        return cls(client.db, client.redis, client.announce, client.events)

    async def cancelled(self, ids: Sequence[UUID]) -> None:
        """Attempts that run hear of it, and whoever waits for the end."""
        with contextlib.suppress(*AWAY):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for task_id in ids:
                    pipeline.publish(keys.CANCEL_CHANNEL, str(task_id))
                    pipeline.publish(keys.settled_channel(str(task_id)), "")
                await pipeline.execute()
        await tell_settled(self._db, self._events, ids)

    async def again(self, rows: Sequence[Pushable]) -> None:
        """What runs again is pushed."""
        if not rows:
            return
        # A stock client would take the failure that lies there for the end of the new run, and so
        # would the rescuer.
        with contextlib.suppress(*AWAY):
            await self._redis.delete(*(keys.result(row.job_id) for row in rows))
        self._announce(jobs_of_rows(rows))

    async def moved(self, rows: Iterable[Pushable], *, leave: bool = False) -> None:
        """Jobs stand where their rows say now, or leave their queue to be pushed when due."""
        queues: dict[str, list[Job]] = {}
        for job in jobs_of_rows(rows):
            queues.setdefault(job.queue, []).append(job)
        with contextlib.suppress(*AWAY):
            for queue, jobs in queues.items():
                await self._move(queue, jobs, leave=leave)

    async def _move(self, queue: str, jobs: list[Job], *, leave: bool) -> None:
        call = scripts.caller(self._redis)
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(HELD_SECONDS)
            held, refused = await scripts.move(call, queue, jobs, leave=leave)
            if refused:
                logger.warning("Redis refuses jobs of queue %s: %s", queue, refused)
            jobs = [job for job in jobs if job.job_id in held]
            if not jobs:
                return
