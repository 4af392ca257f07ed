"""Commands of Redis that redis-py has no typed method for."""

from typing import Any

from uow.broker.redis import RedisClient


async def command(redis: RedisClient, *words: str) -> Any:
    """Send these words; returns the answer, of whatever kind it is."""
    return await redis.execute_command(*words)  # type: ignore[no-untyped-call]
