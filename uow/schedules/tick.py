"""A tick of a schedule, and how it is given to the statements about ticks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uow.schedules.cron import ScheduleDefinition


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


def columns_of(ticks: Sequence[Tick]) -> dict[str, Any]:
    """What is noted about each."""
    return {
        "apps": [one.app for one in ticks],
        "names": [one.name for one in ticks],
        "ticks": [one.tick for one in ticks],
        "fates": [one.fate for one in ticks],
        "untils": [one.until for one in ticks],
        "ids": [one.task_id for one in ticks],
    }


def tasks_of(ticks: Sequence[Tick]) -> dict[str, Any]:
    """The task of each."""
    return {
        "ids": [one.task_id for one in ticks],
        "tasks": [one.definition.task for one in ticks],
        "arguments": [one.definition.arguments for one in ticks],
        "queues": [one.definition.queue for one in ticks],
        "priorities": [one.definition.priority for one in ticks],
        "keys": [one.definition.unique_key(one.app, one.name) for one in ticks],
        "ticks": [one.tick for one in ticks],
        "run_ats": [one.run_at for one in ticks],
    }
