"""Lets go what a pause has held back, when it is over: a duty of the leader.

Page by page, each in a transaction of its own: a pause of a month may hold a million tasks. The
pause is forgotten when nothing is left of it; a leader that dies meanwhile is followed by another
that goes on.
"""

import logging
from collections.abc import Callable

from uow.db import pauses
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.service import Service

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0

PAGE = 500
"""Tasks per statement: some ten milliseconds of Postgres."""

PAGES = 200
"""Pages per round and pause: others are over, too."""


class Resumption(Service):
    """Ends pauses whose time has come, and lets their tasks go.

    Args:
        wake_relay: Called when there is something to push.
    """

    passing = PASSING

    def __init__(
        self,
        db: Database,
        *,
        wake_relay: Callable[[], None],
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._db = db
        self._wake_relay = wake_relay

    async def run_once(self) -> int:
        """Let go what may go; returns how many tasks."""
        return sum([await self._let_go(one) for one in await pauses.over(self._db, 100)])

    async def _let_go(self, number: int) -> int:
        gone = 0
        for _ in range(PAGES):
            page = await pauses.let_go(self._db, number, PAGE)
            gone += page
            if page:
                self._wake_relay()
            elif await pauses.forget(self._db, number):
                logger.info("a pause is over: %d tasks go on", gone)
                return gone
            else:  # what is left is locked: the next round comes to it
                return gone
        return gone
