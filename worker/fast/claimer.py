"""Claims due jobs, as many as there are free slots."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping

from worker import exhaustion
from worker.broker.claims import Claimed, Round, claim
from worker.broker.redis import AWAY
from worker.broker.scripts import Call

logger = logging.getLogger("worker.fast")

PAUSES = (0.05, 0.5)
"""Seconds between two claims while Redis is away, first and at most."""


class Claimer:
    """Claims for one process.

    Args:
        queues: Names with weights: how often each is served first, in proportion.
        process: Its name; what it writes into a lease begins with it.
        give_back: Takes what was claimed when nobody waits for it any more.
    """

    def __init__(
        self,
        call: Call,
        queues: Mapping[str, float],
        lease_seconds: float,
        process: str,
        give_back: Callable[[Claimed], None],
    ) -> None:
        self._call = call
        self._queues = queues
        self._lease_ms = int(lease_seconds * 1000)
        self._process = process
        self._give_back = give_back
        self._claims = 0
        self._pause = 0.0
        self._is_away = False

    async def claim(self, free: int) -> Round:
        """Claim `free` due jobs at most; while Redis is away, none after a pause."""
        self._claims += 1
        token = f"{self._process}:{self._claims}"
        claiming = asyncio.ensure_future(
            claim(self._call, self._in_turn(), free, self._lease_ms, token)
        )
        try:
            found = await asyncio.shield(claiming)
        except AWAY as error:
            await asyncio.sleep(self._note_away(error))
            return Round([], None)
        except asyncio.CancelledError:
            with contextlib.suppress(*AWAY):  # nothing is claimed, or its lease runs out
                for one in (await claiming).jobs:
                    self._give_back(one)
            raise
        if self._is_away:
            logger.warning("Redis is back")
        self._pause, self._is_away = 0.0, False
        return found

    def _in_turn(self) -> list[str]:
        names = list(self._queues)
        if len(names) > 1:
            # Each in front as often as its weight says: the smallest of exponential times.
            names.sort(key=lambda name: random.expovariate(self._queues[name]))
        return names

    def _note_away(self, error: Exception) -> float:
        first, longest = PAUSES
        if exhaustion.here.explains(error) is None and not self._is_away:
            logger.warning("Redis is away, waiting: %s: %s", type(error).__name__, error)
            self._is_away = True
        self._pause = min(max(self._pause * 2, first), longest)
        return self._pause
