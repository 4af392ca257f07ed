"""What an act was not done to, and why."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from uow.db.acts import TaskStanding


class Why(StrEnum):
    """Why a task was left alone."""

    NOT_THERE = "not_there"
    SETTLED = "settled"
    SUCCEEDED = "succeeded"
    UNSETTLED = "unsettled"
    RUNNING = "running"
    DUE = "due"
    KEY_TAKEN = "key_taken"
    SAME = "same"
    LAST_OF_SCHEDULE = "last_of_schedule"
    IN_REDIS = "in_redis"
    LOCKED = "locked"
    REFUSED = "refused"
    CHANGED = "changed"


TEXTS = {
    Why.NOT_THERE: "it is not there",
    Why.SETTLED: "it is settled already",
    Why.SUCCEEDED: "it has succeeded",
    Why.UNSETTLED: "it is not settled",
    Why.RUNNING: "it is running",
    Why.DUE: "it is due already",
    Why.KEY_TAKEN: "another task has its unique key",
    Why.SAME: "it has that priority already",
    Why.LAST_OF_SCHEDULE: "it is the last task of a schedule, which says how that went",
    Why.IN_REDIS: "its job is still in Redis: try again in a moment",
    Why.LOCKED: "another transaction holds it locked",
    Why.REFUSED: "Postgres refuses it",
    Why.CHANGED: "it was changed at that moment: try again",
}
"""Each reason in words."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A task that an act was not done to.

    Attributes:
        text: The reason in words.
    """

    id: UUID
    why: Why
    text: str

    @classmethod
    def of(cls, task_id: UUID, why: Why, standing: TaskStanding | None = None) -> "LeftAlone":
        """With the reason in words."""
        text = TEXTS[why]
        if why is Why.KEY_TAKEN and standing is not None and standing.holder is not None:
            text = f"task {standing.holder} has its unique key {standing.key!r}"
        return cls(task_id, why, text)
