"""Which tasks are settled, fleet-wide, over one connection: hints, as they are published anyway.

Workers publish a hint per settled task for whoever waits for its result. To listen to all of them
costs the workers nothing, and Redis one message each.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import cache

from redis.exceptions import ResponseError

from uow.broker import keys
from uow.broker.redis import AWAY, RedisClient
from uow.broker.refusals import is_refusal
from uow.service import Service

logger = logging.getLogger(__name__)

QUIET_SECONDS = 30.0
"""How long one wait for a message lasts; no more than a bound for a lost connection."""

REFUSED_SECONDS = 60.0
"""Until Redis is asked again that has said no for good."""


class Settlements(Service):
    """Calls with the id of each task that is settled, from `start` to `stop`.

    Args:
        redis: Where it is published.
        on_settled: Called with an id, in the event loop; it may not raise.
        on_gap: Called when some may have been missed: at the beginning, and after an outage.
    """

    passing = (*AWAY, RuntimeError)

    def __init__(
        self, redis: RedisClient, on_settled: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        super().__init__(interval=0)
        self._redis = redis
        self._on_settled = on_settled
        self._on_gap = on_gap

    async def run_once(self) -> None:
        """Listen until the connection is lost."""
        pubsub = self._redis.pubsub()
        try:
            await pubsub.psubscribe(keys.OUR_CHANNELS)
            while True:
                message = await pubsub.get_message(timeout=QUIET_SECONDS)
                if message is not None:
                    self._pass_on(message)
        except ResponseError as error:
            if not is_refusal(error):
                raise
            _warn_once(str(error))
            await asyncio.sleep(REFUSED_SECONDS)
        finally:
            with contextlib.suppress(*self.passing):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    def _pass_on(self, message: dict[str, object]) -> None:
        channel = message["channel"]
        if message["type"] == "psubscribe":
            self._on_gap()
        elif isinstance(channel, bytes) and (settled := keys.settled_in(channel.decode())):
            self._on_settled(settled)


@cache
def _warn_once(refusal: str) -> None:
    logger.warning(
        "Redis does not let us listen to what is settled (%s): streams of events look from time to "
        "time. Its user needs +psubscribe &%s", refusal, keys.OUR_CHANNELS,
    )  # fmt: skip
