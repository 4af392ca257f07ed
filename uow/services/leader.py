"""One process of the fleet does what is to be done once: the others stand by.

The lead is a row with a time limit in Postgres, so it works through a transaction-pooling proxy. It
is no lock: for a moment two may lead (one that stalls does not know yet), so every duty must be
harmless when two do it.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from uow.db import fleet
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.service import Service

logger = logging.getLogger(__name__)

TERM_SECONDS = 6.0
"""A leader that was killed is followed by another within this and `RENEW_SECONDS`."""

RENEW_SECONDS = 2.0


class Leader(Service):
    """Runs `duties` while this process leads."""

    passing = PASSING

    def __init__(
        self,
        db: Database,
        worker: str,
        duties: Sequence[Service],
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(RENEW_SECONDS, on_death)
        self._db = db
        self._worker = worker
        self._duties = duties
        self._until = float("-inf")
        self.leads = False

    async def run_once(self) -> bool:
        """Take or keep the lead; returns whether this process leads."""
        asked = time.monotonic()
        try:
            leads = await fleet.lead(self._db, self._worker, TERM_SECONDS, limit=TERM_SECONDS)
        except self.passing:
            if time.monotonic() > self._until:
                await self._follow()
            raise
        if not leads:
            await self._follow()
        else:
            self._until = asked + TERM_SECONDS
            await self._lead()
        return self.leads

    async def stop(self) -> None:
        """Hand the lead over at once."""
        await super().stop()
        await self._follow()
        with contextlib.suppress(*self.passing):
            await fleet.resign(self._db, self._worker, limit=RENEW_SECONDS)

    async def _lead(self) -> None:
        if not self.leads:
            logger.info("leads the fleet")
            self.leads = True
        for duty in self._duties:
            await duty.start()

    async def _follow(self) -> None:
        if self.leads:
            logger.info("does not lead the fleet any more")
            self.leads = False
        for duty in self._duties:
            await duty.stop()
