"""Asks Redis again and again whether it is there, for those who want to know when it is not."""

import asyncio
from collections.abc import Callable

from uow.broker.redis import AWAY, RedisClient
from uow.events.spine import Event
from uow.service import Service
from uow.services.outage import Outage

INTERVAL_SECONDS = 1.0

ANSWER_SECONDS = 2.0
"""A Redis that has not answered for so long is away."""


class RedisPulse(Service):
    """Tells that Redis is away, and that it is back.

    Args:
        tell: Takes the events.
    """

    def __init__(
        self,
        redis: RedisClient,
        tell: Callable[[Event], object],
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._redis = redis
        self._outage = Outage("redis", tell)

    async def run_once(self) -> None:
        """Ask once."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._redis.ping()
        except AWAY as error:  # a timeout is one of these
            self._outage.begins(error)
        else:
            self._outage.ends()
