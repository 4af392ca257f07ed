"""The ticks of the schedules in the code, while the test's time goes on.

Nothing of it is registered: a schedule lives in the test, under the name of an app that no other
has, and its ticks are noted and made tasks of by what the leader does it with.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from uow.db.database import Database
from uow.db.ticks import DueSchedule
from uow.ids import new_id
from uow.schedules.cron import DeclaredSchedule, ScheduleDefinition
from uow.schedules.scheduler import admit, decide, fire
from uow.schedules.tick import Tick


@dataclass(slots=True)
class _Schedule:
    name: str
    definition: ScheduleDefinition
    next_tick: datetime | None
    waiting: list[datetime] = field(default_factory=list)


class Ticking:
    """The schedules of one test, from `began` on: since then there has been a worker."""

    def __init__(self, schedules: Iterable[DeclaredSchedule], queue: str, began: datetime) -> None:
        self._app = f"test-{uuid4().hex[:12]}"
        self._began = began
        self._schedules = [
            _Schedule(one.name, made, made.timetable.next_after(began))
            for one in schedules
            for made in [one.definition(queue)]
        ]

    @property
    def next_tick(self) -> datetime | None:
        """When the next one is; None: there is none."""
        return min((one.next_tick for one in self._schedules if one.next_tick), default=None)

    async def fire(self, db: Database, now: datetime) -> None:
        """Fire what is due at `now`, as the leader does."""
        due = [one for one in self._schedules if one.next_tick and one.next_tick <= now]
        decided = [decide(self._due(one, now)) for one in due]
        async with db.transaction() as transaction:
            await fire(transaction, decided)
        for one, made in zip(due, decided, strict=True):
            one.next_tick = made.due.following
            if one.definition.overlap == "queue":
                one.waiting += made.due.ticks

    async def admit(self, db: Database) -> bool:
        """Let ticks in that have waited for the task before them; whether one was let in."""
        waiting = [one for one in self._schedules if one.waiting]
        if not waiting:
            return False
        async with db.transaction() as transaction:
            made = await admit(transaction, [self._tick(one) for one in waiting])
        names = {tick.name for tick in made}
        for one in waiting:
            if one.name in names:
                one.waiting.pop(0)
        return bool(made)

    def _due(self, one: _Schedule, now: datetime) -> DueSchedule:
        assert one.next_tick is not None  # noqa: S101 - it is due
        return DueSchedule(
            self._app, one.name, one.definition.to_json(), one.next_tick, now, self._began
        )

    def _tick(self, one: _Schedule) -> Tick:
        return Tick(self._app, one.name, one.definition, one.waiting[0], "fired", task_id=new_id())
