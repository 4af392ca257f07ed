"""Tells the database which schedules are in this process's code, again and again.

The newest version of a definition that is live holds: during a deploy the new one wins as soon as
its first process has started, and when it is rolled back, the old one comes back after the last
process of the new one has been gone for `GONE_SECONDS`.

The tasks of a schedule go to the queue that its function names, or else to the app's. That is one
for the whole app, the one that its workers have had all along: a process with another
`WORKER_QUEUE`, as a pool for slow tasks has, redirects nothing while a worker of the former lives.
"""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from uow.db.database import Database
from uow.db.failures import PASSING
from uow.db.fragments import REFRESH_SECONDS
from uow.db.schedule_versions import (
    ChangedSchedule,
    SaidVersion,
    adopt,
    find_changed,
    find_queue_of_app,
    register_versions,
    say_queue_of_app,
    still_in_code,
)
from uow.schedules.cron import DeclaredSchedule, ScheduleDefinition
from uow.service import Service
from uow.settings.environment import Settings

logger = logging.getLogger(__name__)


class Registrar(Service):
    """Registers the schedules of one process.

    Args:
        stays: It does not end when nothing is due. What comes and goes registers nothing: it only
            says that what others have registered is still in the code.

    Raises:
        InvalidSchedule: The arguments of one do not fit its task function.
    """

    passing = PASSING

    def __init__(
        self,
        db: Database,
        schedules: Sequence[DeclaredSchedule],
        settings: Settings,
        on_death: Callable[[BaseException], None] | None = None,
        *,
        stays: bool = True,
    ) -> None:
        super().__init__(REFRESH_SECONDS, on_death)
        self._stays = stays
        self._db = db
        self._app = settings.app
        self._schedules = schedules
        self._own_queue = settings.queue
        self._serves_it = settings.queue in settings.served_queues
        self._names = sorted(one.name for one in schedules)
        self._began = time.monotonic()
        self._define(settings.queue)

    async def run_once(self) -> int:
        """Register; returns how many schedules are new or changed."""
        if not self._names:
            return 0
        if not self._stays:
            await self._say_still_in_code()
            return 0
        if (queue := await self._queue_of_app()) != self._queue:
            self._define(queue)
        uptime = time.monotonic() - self._began
        await register_versions(self._db, self._app, self._said, uptime)
        await self._say_still_in_code()
        changed = await find_changed(self._db, self._app, self._names)
        if changed:
            await self._adopt(changed)
        return len(changed)

    async def _say_still_in_code(self) -> None:
        await still_in_code(self._db, self._app, self._names)

    async def _queue_of_app(self) -> str:
        """Where the schedules go whose functions name no queue; says what this process knows."""
        if self._serves_it:
            await say_queue_of_app(self._db, self._app, self._own_queue)
        return await find_queue_of_app(self._db, self._app) or self._own_queue

    def _define(self, queue: str) -> None:
        ours = {one.name: one.definition(queue) for one in self._schedules}
        self._queue = queue
        self._said = [
            SaidVersion(name, ours[name].version, ours[name].to_json()) for name in self._names
        ]
        if queue != self._own_queue:
            logger.info("schedules of %s go to queue %s, as its other workers say, and not to %s, "
                        "WORKER_QUEUE of this one", self._app, queue, self._own_queue)  # fmt: skip

    async def _adopt(self, changed: Sequence[ChangedSchedule]) -> None:
        ours = [(row, *parsed) for row in changed if (parsed := _understood(row)) is not None]
        firsts = [(row, first) for row, _, first in ours]
        await adopt(self._db, self._app, changed[0].now, firsts)
        for row, definition, first in ours:
            logger.info("schedule %s (%s): next at %s", row.name, definition.expression, first)


def _understood(row: ChangedSchedule) -> tuple[ScheduleDefinition, datetime | None] | None:
    """A definition and its first tick; None: it is of a newer version, whose process adopts it."""
    try:
        definition = ScheduleDefinition.from_json(row.definition)
        return definition, definition.timetable.next_after(row.now)
    except (ValueError, TypeError):
        return None
