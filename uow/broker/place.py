"""Where a job stands in its queue."""

import math
from dataclasses import dataclass

from redis.asyncio import Redis

from uow.broker import scripts

LOOKED_AT = 1000
"""Jobs in front that are asked whether somebody holds them: those are the first ones."""


@dataclass(frozen=True, slots=True)
class PlaceInQueue:
    """Where a job stands.

    Attributes:
        now_ms: What time it is by Redis's clock, in Unix milliseconds.
        score: It is offered when that is past; None: Redis does not have it.
        held: A process has claimed it.
        in_front: How many are offered before it.
    """

    now_ms: int
    score: int | None
    held: bool
    in_front: int

    @property
    def offered(self) -> bool:
        """Whether a claim may take it now, as soon as its turn comes."""
        return self.score is not None and not self.held and self.score <= self.now_ms


async def place_of(redis: Redis, queue: str, job_id: str) -> PlaceInQueue:
    """Where a job stands in `queue`.

    Raises:
        RedisError, OSError: Redis is away, or refuses to tell.
    """
    call = scripts.caller(redis)
    now_ms, score, held, in_front = await call("place", [queue], [job_id, LOOKED_AT])
    at = None if score is None else math.ceil(float(score))
    return PlaceInQueue(now_ms, at, bool(held), in_front)
