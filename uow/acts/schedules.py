"""What people do to schedules, written into the audit: pause, resume, ask for a task by hand."""

import json
from datetime import datetime
from typing import Any

from uow.acts.actor import Actor
from uow.acts.noted import reason_of
from uow.db.audit import AuditNote
from uow.db.database import Database
from uow.schedules.by_hand import Schedules
from uow.tasks.handle import TaskHandle


class ScheduleActs:
    """Acts on the schedules of one app; each has its row in the audit, in its own transaction.

    Args:
        app: What `WORKER_APP` says.
        by: Who acts.
        reason: Why.
    """

    def __init__(self, db: Database, app: str, by: Actor, reason: str | None = None) -> None:
        self._schedules = Schedules(db, app)
        self._app = app
        self._by = by
        self._reason = reason_of(reason)

    async def pause(self, name: str) -> None:
        """As `Schedules.pause`."""
        await self._schedules.pause(name, note=self._note("pause", name))

    async def resume(self, name: str) -> datetime | None:
        """As `Schedules.resume`."""
        return await self._schedules.resume(name, note=self._note("resume", name))

    async def run(self, name: str) -> TaskHandle[Any]:
        """As `Schedules.run`."""
        return await self._schedules.run(name, note=self._note("run", name))

    def _note(self, act: str, name: str) -> AuditNote:
        return AuditNote(
            who=self._by.name,
            face=self._by.face,
            address=self._by.address,
            what=act,
            filter=json.dumps({"schedule": name, "app": self._app}),
            reason=self._reason,
        )
