"""The connection that stock arq works on: one that outlasts an outage of Redis.

arq's worker ends with the first error in its own loop. So its client waits, command by command,
until Redis answers again; a claim that was under way counts as lost to somebody else, which is what
arq makes of a `WatchError`. Once the process is stopping there is nothing to wait for: what cannot
be said is left unsaid, and leases run out by themselves.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from redis.asyncio.client import Pipeline
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    WatchError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from worker import exhaustion

T = TypeVar("T")

logger = logging.getLogger("worker.redis")

PAUSES = (0.05, 0.5)
"""Seconds between two tries, first and at most: a Redis that is back is noticed within half one."""

_HELD_BY_ANOTHER = 1
"""What arq reads when the job's lease is there."""

_PASSING = (RedisConnectionError, RedisTimeoutError, OSError, OutOfMemoryError, ReadOnlyError)
_PASSING_REPLIES = ("MISCONF", "MASTERDOWN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "LOADING")


class PatientRedis(ArqRedis):
    """arq's client, which waits while Redis is away.

    Attributes:
        claiming: Whether arq may see what is due; off while Postgres does not answer.
        stopping: Set when the process stops; then nothing is waited for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.claiming = True
        self.stopping = False

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Run a command as soon as Redis answers; None if it cannot any more."""
        call: Callable[..., Awaitable[Any]] = super().execute_command
        return await self.until_answered(lambda: call(*args, **options))

    async def zrangebyscore(self, *args: Any, **kwargs: Any) -> Any:
        """What arq asks for to see what is due."""
        if not self.claiming or self.stopping or exhaustion.here.lasts():
            return []
        found = await super().zrangebyscore(*args, **kwargs)
        return [entry for entry in found or [] if _is_text(entry)]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """A pipeline that waits, too."""
        return PatientPipeline(self, transaction, shard_hint)

    async def until_answered(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Repeat `call` while Redis is away."""
        pause, longest = PAUSES
        waited = False
        while True:
            try:
                answer = await call()
            except (RedisError, OSError) as error:
                if not _passes(error):
                    raise
                if self.stopping:
                    logger.warning("Redis is away while we stop: %s", type(error).__name__)
                    return None
                if exhaustion.here.explains(error) is None and not waited:
                    logger.warning("Redis is away, waiting: %s: %s", type(error).__name__, error)
                    waited = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            else:
                if waited:
                    logger.warning("Redis is back")
                return answer


class PatientPipeline(Pipeline):
    """A pipeline of `PatientRedis`."""

    def __init__(self, redis: PatientRedis, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(redis.connection_pool, redis.response_callbacks, transaction, shard_hint)
        self._redis = redis
        self._claims = False

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        """WATCH, and what is read under it; a claim that loses its connection has lost."""
        call: Callable[..., Awaitable[Any]] = super().immediate_execute_command
        if args[0] == "WATCH":
            self._claims = str(args[1]).startswith(in_progress_key_prefix)
            return await self._redis.until_answered(lambda: call(*args, **options))
        try:
            return await call(*args, **options)
        except (RedisError, OSError) as error:
            if not self._claims:
                raise
            logger.warning("a claim is given up: %s: %s", type(error).__name__, error)
            self.watching = False
            return _HELD_BY_ANOTHER

    async def reset(self) -> None:
        """Give the connection back; what it watched ends with it if Redis does not answer."""
        try:
            await super().reset()  # type: ignore[no-untyped-call]
        except (RedisError, OSError):
            if self.connection is not None:
                await self.connection.disconnect(nowait=True)
            self.watching = False
            await super().reset()  # type: ignore[no-untyped-call]

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Run what was collected; a claim whose answer is lost counts as another's."""
        call: Callable[..., Awaitable[list[Any]]] = super().execute
        if self.watching:
            try:
                return await call(raise_on_error)
            except (RedisError, OSError) as error:
                if not self._claims:  # somebody else's transaction: not ours to judge
                    raise
                raise WatchError(f"the claim's answer was lost ({error})") from error
        commands, transaction = list(self.command_stack), self.explicit_transaction

        async def once_more() -> list[Any]:
            self.command_stack, self.explicit_transaction = list(commands), transaction
            return await call(raise_on_error)

        answers = await self._redis.until_answered(once_more)
        return [None] * len(commands) if answers is None else answers


def _passes(error: Exception) -> bool:
    if isinstance(error, _PASSING):
        return True
    return isinstance(error, ResponseError) and str(error).startswith(_PASSING_REPLIES)


def _is_text(entry: bytes) -> bool:
    try:
        entry.decode()
    except UnicodeDecodeError:
        logger.warning("the queue has an entry that is no job id: %r", entry)
        return False
    return True
