"""What is enqueued or has started, for streams of events: looked for, since no worker tells it.

One statement of the process every quarter of a second, however many streams there are, and none
when there is none. It reads the newest tasks, and those unsettled ones that streams were told of
last; what differs from the time before is told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from uow.db.database import Database
from uow.db.failures import PASSING
from uow.db.following import FollowedTask
from uow.errors import ServerUnreachable
from uow.questions.following import look
from uow.service import Service

LOOK_SECONDS = 0.25

NEWEST = 200
"""Tasks that are looked at; if more than that are new at once, every stream begins anew."""

MOST_WATCHED = 500
"""Older tasks that are looked at: those that were told last."""

_LOWEST = UUID(int=0)

_Signs = tuple[object, ...]


class Looks(Service):
    """Looks while it runs.

    Args:
        is_wide: Says whether some stream follows more than one task: else none is looked for that
            streams do not know.
        deal_out: Told of what is new, or not as it was.
        on_gap: Called when there may be more that is new.
    """

    passing = (*PASSING, ServerUnreachable, OSError)
    report_seconds = 60.0

    def __init__(
        self,
        db: Database,
        is_wide: Callable[[], bool],
        deal_out: Callable[[Sequence[FollowedTask]], None],
        on_gap: Callable[[], None],
    ) -> None:
        super().__init__(LOOK_SECONDS)
        self._db = db
        self._is_wide = is_wide
        self._deal_out = deal_out
        self._on_gap = on_gap
        self._known: dict[UUID, _Signs] = {}
        self._watched: dict[UUID, None] = {}  # in the order in which they were told
        self._told_meanwhile: set[UUID] = set()
        self._floor: UUID | None = None  # the oldest of the newest; None: nobody has looked

    @property
    def name(self) -> str:
        """What logs call it."""
        return "streams of events"

    async def stop(self) -> None:
        """Stop, and forget what was seen."""
        await super().stop()
        self._known.clear()
        self._watched.clear()
        self._floor = None

    def watch(self, tasks: Iterable[FollowedTask]) -> None:
        """Streams know of these as they are here: what differs from it is told."""
        for task in tasks:
            self._known[task.id] = _signs(task)
            self._told_meanwhile.add(task.id)
            self._watched.pop(task.id, None)
            if task.settled_at is None:
                self._watched[task.id] = None
        while len(self._watched) > MOST_WATCHED:
            del self._watched[next(iter(self._watched))]

    async def run_once(self) -> None:
        """Look, and tell what differs."""
        most = NEWEST if self._is_wide() else 0
        self._told_meanwhile.clear()
        seen = await look(self._db, most, [*self._watched])
        newest = sorted((task.id for task, _ in seen), reverse=True)[:most]
        is_full = 0 < most == len(newest)
        if self._floor is not None and is_full and not self._known.keys() & newest:
            self._on_gap()
        # What was told while this was read may be newer than it.
        fresh = {task.id: one for one in seen if (task := one[0]).id not in self._told_meanwhile}
        news = [task for task, is_young in fresh.values() if self._is_news(task, is_young)]
        self._remember(fresh, newest if is_full else [])
        if news:
            self.watch(news)
            self._deal_out(news)

    def _is_news(self, task: FollowedTask, is_young: bool) -> bool:
        known = self._known.get(task.id)
        if known is not None:
            return known != _signs(task)
        # What was removed lets older ones come up from below: those are not new.
        return is_young if self._floor is None else task.id > self._floor

    def _remember(
        self, fresh: Mapping[UUID, tuple[FollowedTask, bool]], newest: Sequence[UUID]
    ) -> None:
        told = {id_: self._known[id_] for id_ in self._told_meanwhile}
        self._known = {id_: _signs(task) for id_, (task, _) in fresh.items()} | told
        self._watched = {id_: None for id_ in self._watched if id_ in self._known}
        self._floor = newest[-1] if newest else _LOWEST if self._is_wide() else None


def _signs(task: FollowedTask) -> _Signs:
    return task.state, task.attempt, task.tries, task.run_at
