"""What is paused, as this process knows it.

It is told with the relay's look, which every process takes each second and at each change
(`uow.services.relay`): without a pause that costs nothing. Who starts a task asks Postgres once
more, in the statement that holds it back; so a process that has not heard of an end yet holds
nothing back, and one that has not heard of a beginning yet starts tasks for a second at most.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from uow.db import pauses
from uow.db.statement import Statements

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""After so long what cannot wait in a row is looked at again: a rowless task, a stock client's."""


@dataclass(frozen=True, slots=True)
class Paused:
    """What is paused."""

    everything: bool = False
    queues: Collection[str] = ()
    names: Collection[str] = ()
    users: Collection[str] = ()


@dataclass(slots=True)
class Pauses:
    """What is paused here.

    Attributes:
        on_change: Called when that has changed.
    """

    on_change: list[Callable[[], object]] = field(default_factory=list)
    _paused: Paused = field(default_factory=Paused)
    _known: str | None = None

    async def note(self, db: Statements, state: str | None) -> None:
        """The relay has seen that the pauses are in this state; read them if that is another.

        Args:
            state: Different whenever anything is; None: nothing is paused.
        """
        if state == self._known:
            return
        found = [] if state is None else await pauses.pauses(db)
        self._paused, self._known = _paused(found), state
        logger.info("paused: %s", _in_words(found) or "nothing any more")
        for tell in self.on_change:
            tell()

    def holds_queue(self, queue: str) -> bool:
        """Whether nothing is to be claimed from `queue`."""
        return self._paused.everything or queue in self._paused.queues

    def holds_name(self, name: str) -> bool:
        """Whether no task of this function is to be started."""
        return name in self._paused.names

    async def hold(self, db: Statements, task_ids: Sequence[UUID]) -> set[UUID]:
        """Hold back those of the tasks that may not start, and return them."""
        if not (self._paused.names or self._paused.users):
            return set()
        return await pauses.hold(db, sorted(task_ids))


def _paused(found: Sequence[pauses.StoredPause]) -> Paused:
    def targets(kind: pauses.Kind) -> frozenset[str]:
        return frozenset(one.target for one in found if one.kind == kind)

    everything = any(one.kind == "everything" for one in found)
    return Paused(everything, targets("queue"), targets("name"), targets("user"))


def _in_words(found: Sequence[pauses.StoredPause]) -> str:
    return ", ".join(f"{one.kind} {one.target}".strip() for one in found[:20])
