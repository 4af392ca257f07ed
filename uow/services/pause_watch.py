"""Looks at what is paused as soon as somebody says that it has changed.

The relay's looks find it, too, each second; but a relay may be in the middle of a thousand pushes.
"""

from collections.abc import Callable

from uow.attempt.pauses import Pauses
from uow.db import delivery
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.service import Service

INTERVAL_SECONDS = 30.0
"""It is woken when there is something to see."""


class PauseWatch(Service):
    """Tells `pauses` of changes."""

    passing = PASSING

    def __init__(
        self,
        db: Database,
        pauses: Pauses,
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._db = db
        self._pauses = pauses

    async def run_once(self) -> None:
        """Look once."""
        _, state = await delivery.look(self._db)
        await self._pauses.note(self._db, state)
