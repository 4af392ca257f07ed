"""How often a suspect was handed back for not being alone, by which its patience grows.

Not its attempts: one that has failed a dozen times would hold up a process for half an hour. It is
counted in Redis, which may forget it: then the patience begins anew, and grows again.
"""

import contextlib
from uuid import UUID

from uow.attempt.solo import patience_of
from uow.broker import keys
from uow.broker.redis import AWAY, RedisClient

REMEMBERED_SECONDS = 6 * 3600
"""After so long without a hand-back the count begins anew."""


async def patience_for(redis: RedisClient, task_id: UUID) -> float:
    """Seconds that the suspect may wait now for its neighbours to end."""
    times = 0
    with contextlib.suppress(*AWAY, ValueError):
        times = int(await redis.get(keys.not_alone(str(task_id))) or 0)
    return patience_of(times + 1)


async def note_not_alone(redis: RedisClient, task_id: UUID) -> None:
    """It waited in vain: next time it waits for longer, if Redis can remember that."""
    key = keys.not_alone(str(task_id))
    with contextlib.suppress(*AWAY):
        await redis.incr(key)
        await redis.expire(key, REMEMBERED_SECONDS)


async def forget_not_alone(redis: RedisClient, task_id: UUID) -> None:
    """It was alone: its next wait is a first one again."""
    with contextlib.suppress(*AWAY):
        await redis.delete(keys.not_alone(str(task_id)))
