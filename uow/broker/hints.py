"""Hints over Redis pub/sub: one connection per process, many listeners.

A hint says "look now"; whoever gets it looks at Postgres, and looks from time to time anyway,
because a hint may be lost, or Redis may not let us have any.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from functools import cache

from redis.exceptions import ResponseError

from uow.broker.redis import AWAY, RedisClient
from uow.broker.refusals import is_refusal
from uow.service import Service

logger = logging.getLogger(__name__)

HintListener = Callable[[str], None]

PATIENCE_SECONDS = 0.5
"""How long a listener waits for a Redis that hangs; the loop subscribes for it later."""

QUIET_SECONDS = 30.0
"""How long one wait for a message lasts; no more than a bound for a lost connection."""


class Hints(Service):
    """Calls listeners with what is published on their channel; waits while Redis is away."""

    # A RuntimeError: two read at once, because one who had something to say has found the
    # connection lost, and made it anew, while the loop still waited on the old one.
    passing = (*AWAY, RuntimeError)

    def __init__(self, redis: RedisClient) -> None:
        super().__init__(interval=0)
        self._pubsub = redis.pubsub(ignore_subscribe_messages=True)
        self._listeners: dict[str, set[HintListener]] = {}
        self._subscribed: set[str] = set()

    async def listen(self, channel: str, listener: HintListener) -> None:
        """Call `listener` for each message on `channel`, from now or from Redis's return on."""
        self._listeners.setdefault(channel, set()).add(listener)
        with contextlib.suppress(*self.passing):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._subscribe_missing()
        await self.start()

    async def forget(self, channel: str, listener: HintListener) -> None:
        """Undo `listen`."""
        listeners = self._listeners.get(channel, set())
        listeners.discard(listener)
        if not listeners and self._listeners.pop(channel, None) is not None:
            self._subscribed.discard(channel)
            with contextlib.suppress(*self.passing):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._pubsub.unsubscribe(channel)

    @contextlib.asynccontextmanager
    async def waiting_for(self, channel: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set by the next message on `channel`."""
        event = asyncio.Event()

        def wake(_: str) -> None:
            event.set()

        await self.listen(channel, wake)
        try:
            yield event
        finally:
            await self.forget(channel, wake)

    async def run_once(self) -> None:
        """Wait for one message and pass it on."""
        await self._subscribe_missing()
        if not self._subscribed:
            await self._wake.wait()
            return
        try:
            message = await self._pubsub.get_message(timeout=QUIET_SECONDS)
        except ResponseError as error:
            if not is_refusal(error):
                raise
            _warn_once(str(error))
            return
        if message is not None:
            for listener in tuple(self._listeners.get(message["channel"].decode(), ())):
                listener(message["data"].decode())

    async def stop(self) -> None:
        """Stop listening and give the connection back."""
        await super().stop()
        with contextlib.suppress(*self.passing):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _subscribe_missing(self) -> None:
        missing = self._listeners.keys() - self._subscribed
        if missing:
            await self._pubsub.subscribe(*missing)
            self._subscribed |= missing
            self.wake()


@cache
def _warn_once(refusal: str) -> None:
    logger.warning(
        "Redis gives us no hints (%s): who waits for a task looks from time to time, and a running "
        "attempt hears of its cancellation at its commit. Its user needs +subscribe &worker:*",
        refusal,
    )
