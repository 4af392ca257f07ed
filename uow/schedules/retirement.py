"""Takes schedules out of service that are in nobody's code any more; forgets old ticks and code.

A duty of the leader. What a schedule was is shown for as long as a settled task is kept. Code is
forgotten, that is which task functions it has, when no process has it any more.
"""

import logging
from collections.abc import Callable

from uow.db.code import forget_code
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.db.pruning import prune_ticks
from uow.db.schedule_versions import forget_removed, retire
from uow.service import Service

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 30.0

BATCH = 1000


class Retirement(Service):
    """Retires and forgets."""

    passing = PASSING

    def __init__(
        self,
        db: Database,
        retention: float,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._db = db
        self._retention = retention

    async def run_once(self) -> None:
        """Retire what is gone, and forget what is old."""
        for one in await retire(self._db):
            logger.warning("schedule %s of %s is in no worker's code any more", one.name, one.app)
        while await prune_ticks(self._db, self._retention, BATCH) == BATCH:
            pass
        await forget_removed(self._db, self._retention)
        await forget_code(self._db)
