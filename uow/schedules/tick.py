"""A tick of a schedule, and what the statements about ticks are given of it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.ticks import TickedTask, TickFate
from uow.schedules.cron import ScheduleDefinition
from uow.tasks.headers import SCHEDULE, encode_headers


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick that is to be noted.

    Attributes:
        fate: What has become of it: fired, asked, waiting, overlapped or missed.
        until: For missed ticks: the last of them.
        task_id: Its task, should it have one.
    """

    app: str
    name: str
    definition: ScheduleDefinition
    tick: datetime
    fate: str
    until: datetime | None = None
    task_id: UUID | None = None

    @property
    def key(self) -> tuple[str, str, datetime]:
        """What it is known by."""
        return self.app, self.name, self.tick

    @property
    def run_at(self) -> datetime:
        """When its task is due: by the jitter later, unless somebody has asked for it."""
        if self.fate == "asked":
            return self.tick
        return self.definition.starts(self.app, self.name, self.tick)

    @property
    def noted(self) -> TickFate:
        """What is noted about it."""
        return TickFate(self.app, self.name, self.tick, self.fate, self.until, self.task_id)

    @property
    def its_task(self) -> TickedTask:
        """Its task, which has an id."""
        assert self.task_id is not None  # noqa: S101 - else it has none
        return TickedTask(
            id=self.task_id,
            task=self.definition.task,
            arguments=self.definition.arguments,
            queue=self.definition.queue,
            priority=self.definition.priority,
            unique_key=self.definition.unique_key(self.app, self.name),
            tick=self.tick,
            run_at=self.run_at,
            headers=encode_headers(self.name, {SCHEDULE: self.name}) or "",
        )
