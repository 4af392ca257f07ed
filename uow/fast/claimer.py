"""Claims due jobs, as many as there are free slots."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Mapping

from uow import exhaustion
from uow.broker.claims import Claimed, Round, claim
from uow.broker.redis import AWAY
from uow.broker.refusals import is_refusal
from uow.broker.scripts import Call
from uow.errors import SettingsError
from uow.settings.queues import fault_in_name
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

PAUSES = (0.05, 0.5)
"""Seconds between two claims while Redis is away, first and at most."""

REFUSED_SECONDS = 30.0
"""For how long Redis may refuse every claim before the worker ends: what it refuses for good does
not come round, but somebody may be just changing the account."""


def _never(_: str) -> bool:
    return False


class Claimer:
    """Claims for one process.

    Args:
        queues: Names with weights: how often each is served first, in proportion.
        process: Its name; what it writes into a lease begins with it.
        give_back: Takes what was claimed when nobody waits for it any more.

    Attributes:
        is_paused: Whether nothing is to be claimed from a queue.

    Raises:
        SettingsError: No queue may be called as one of them is.
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
        self._refused: set[str] = set()
        self._refused_since: float | None = None
        self.is_paused: Callable[[str], bool] = _never
        for fault in filter(None, map(fault_in_name, queues)):
            raise SettingsError(fault)

    async def claim(self, free: int) -> Round:
        """Claim `free` due jobs at most; while Redis is away, none after a pause.

        Raises:
            SettingsError: Redis has refused every claim for `REFUSED_SECONDS`.
        """
        if not (queues := self._in_turn()):
            return Round([], None)
        self._claims += 1
        token = f"{self._process}:{self._claims}"
        claiming = asyncio.ensure_future(claim(self._call, queues, free, self._lease_ms, token))
        try:
            found = await asyncio.shield(claiming)
        except AWAY as error:
            await self._bear(error)
            return Round([], None)
        except asyncio.CancelledError:
            with contextlib.suppress(*AWAY):  # nothing is claimed, or its lease runs out
                for one in (await claiming).jobs:
                    self._give_back(one)
            raise
        self._note_answer(found)
        return found

    def _in_turn(self) -> list[str]:
        names = [name for name in self._queues if not self.is_paused(name)]
        if len(names) > 1:
            # Each in front as often as its weight says: the smallest of exponential times.
            names.sort(key=lambda name: random.expovariate(self._queues[name]))
        return names

    async def _bear(self, error: Exception) -> None:
        first, longest = PAUSES
        if is_refusal(error):
            self._note_refusal(str(error))
        elif exhaustion.here.explains(error) is None and not self._is_away:
            logger.warning("Redis is away, waiting: %s", one_line(error))
            self._is_away = True
        self._pause = min(max(self._pause * 2, first), longest)
        await asyncio.sleep(self._pause)

    def _note_answer(self, found: Round) -> None:
        for queue, reason in found.refused.items():
            if queue not in self._refused:
                logger.error("queue %s is not served, Redis refuses it: %s", queue, reason)
        if self._refused or found.refused:
            served = {one.queue for one in found.jobs}
            self._refused = (self._refused - served) | found.refused.keys()
        if len(found.refused) == len(self._queues):
            self._note_refusal(next(iter(found.refused.values())))
            return
        if self._is_away or self._refused_since is not None:
            logger.warning("Redis is back")
        self._pause, self._is_away, self._refused_since = 0.0, False, None

    def _note_refusal(self, reason: str) -> None:
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
            logger.error("Redis refuses claims; not mended in %.0f s, it ends the worker: %s",
                         REFUSED_SECONDS, reason)  # fmt: skip
        elif now - self._refused_since > REFUSED_SECONDS:
            raise SettingsError(
                f"Redis has refused every claim for {REFUSED_SECONDS:.0f} s: {reason}; look at its "
                "user's rights and at what lies at the queue's name"
            )
