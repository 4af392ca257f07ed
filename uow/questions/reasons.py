"""Why a task is where it is: the closed list of answers, each with its words for a person."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from uow.db.models import TaskState

MOST_COUNTED = 10_000
"""Tasks in front: beyond it is said that there are more."""


class Reason(ABC):
    """One answer.

    Attributes:
        name: The same for ever: what programs go by.
    """

    name: ClassVar[str]

    @property
    def text(self) -> str:
        """For a person, in one line; moments are in UTC."""
        return self._said()

    @abstractmethod
    def _said(self) -> str: ...


@dataclass(frozen=True, slots=True)
class IsSettled(Reason):
    """It has ended, and waits for nothing."""

    name = "settled"
    state: TaskState
    at: datetime | None

    def _said(self) -> str:
        since = "" if self.at is None else f" since {_moment(self.at)}"
        return f"it does not wait: it is {self.state}{since}"


@dataclass(frozen=True, slots=True)
class IsRunning(Reason):
    """A process that lives runs it."""

    name = "running"
    worker: str
    attempt: int
    since: datetime | None

    def _said(self) -> str:
        since = "" if self.since is None else f" since {_moment(self.since)}"
        return f"it does not wait: {self.worker} runs its attempt {self.attempt}{since}"


@dataclass(frozen=True, slots=True)
class IsNotDue(Reason):
    """It is to run later.

    Attributes:
        because: What has put it off since it was asked for; None: nothing has.
    """

    name = "not_due"
    until: datetime
    because: str | None

    def _said(self) -> str:
        because = "" if self.because is None else f": {self.because}"
        return f"it is not due until {_moment(self.until)}{because}"


@dataclass(frozen=True, slots=True)
class IsPaused(Reason):
    """Somebody has paused its queue, its function, its user, or everything.

    Attributes:
        target: Which of that kind; of everything, empty.
        because: Why; None: nobody has said it.
        until: When it ends by itself; None: when somebody resumes.
    """

    name = "paused"
    kind: str
    target: str
    because: str | None
    by: str
    until: datetime | None

    def _said(self) -> str:
        what = f"{self.kind} {self.target}".strip()
        end = "" if self.until is None else f" until {_moment(self.until)}"
        because = "" if self.because is None else f": {self.because}"
        return f"{self.by} has paused {what}{end}{because}"


@dataclass(frozen=True, slots=True)
class IsUnserved(Reason):
    """No worker that lives, and stays, serves its queue."""

    name = "unserved"
    queue: str

    def _said(self) -> str:
        return (
            f"no live worker serves its queue {self.queue!r}: start one with WORKER_QUEUES, or "
            "cancel it"
        )


@dataclass(frozen=True, slots=True)
class FunctionIsUnknown(Reason):
    """The workers of its queue do not have its function.

    Attributes:
        since: When one first met it; None: none has yet.
        grace_ends: When it fails, unless a deploy brings the function.
    """

    name = "unknown_function"
    function: str
    queue: str
    since: datetime | None
    grace_ends: datetime | None

    def _said(self) -> str:
        met = "" if self.since is None else f", met without it since {_moment(self.since)}"
        ends = "" if self.grace_ends is None else f"; it fails at {_moment(self.grace_ends)}"
        return (
            f"no live worker of queue {self.queue!r} has a task function "
            f"{self.function!r}{met}{ends}, unless a deploy brings it"
        )


@dataclass(frozen=True, slots=True)
class IsSuspect(Reason):
    """Processes have died under it, so it runs alone in one.

    Attributes:
        worker: The process in which it waits for its neighbours to end; None: it is in none yet.
    """

    name = "suspect"
    deaths: int
    worker: str | None

    def _said(self) -> str:
        where = "a worker that runs nothing else" if self.worker is None else f"{self.worker}"
        end = "" if self.worker is None else " to have ended everything else"
        return (
            f"it is a suspect, {self.deaths} processes have died under it: it waits for "
            f"{where}{end}"
        )


@dataclass(frozen=True, slots=True)
class IsBeingRescued(Reason):
    """What a crash has taken is brought back.

    Attributes:
        worker: The process that ran it and is dead; None: Redis has lost its job.
    """

    name = "being_rescued"
    worker: str | None

    def _said(self) -> str:
        if self.worker is None:
            return "Redis has lost its job: the leader puts it back in its next round"
        return f"{self.worker}, which ran it, is dead: it is taken back and starts again"


@dataclass(frozen=True, slots=True)
class RedisIsAway(Reason):
    """Nothing is delivered."""

    name = "redis_away"

    def _said(self) -> str:
        return "Redis does not answer: nothing is delivered until it does; no task is lost"


@dataclass(frozen=True, slots=True)
class LeaderIsGone(Reason):
    """Redis has lost its job, and nobody leads who would put it back."""

    name = "leader_gone"

    def _said(self) -> str:
        return (
            "Redis has lost its job, and the fleet has no leader to put it back: a worker takes "
            "the lead within seconds, if Postgres lets it"
        )


@dataclass(frozen=True, slots=True)
class IsHandedBack(Reason):
    """It is due, but the delivery is later: the process that it came to could not start it."""

    name = "handed_back"
    until: datetime

    def _said(self) -> str:
        return f"it is delivered at {_moment(self.until)}, by the clock of Redis"


@dataclass(frozen=True, slots=True)
class OthersAreInFront(Reason):
    """Its turn comes later: by priority, then by when it was due.

    Attributes:
        tasks: How many are delivered before it.
    """

    name = "in_front"
    queue: str
    tasks: int

    def _said(self) -> str:
        more = self.tasks > MOST_COUNTED
        number = f"{MOST_COUNTED:,}+" if more else f"{self.tasks:,}"
        are = "task is" if self.tasks == 1 else "tasks are"
        return f"{number} {are} in front of it in queue {self.queue!r}"


@dataclass(frozen=True, slots=True)
class NoSlotIsFree(Reason):
    """It is the next one, and every slot that could take it is taken."""

    name = "no_free_slot"
    queue: str
    slots: int

    def _said(self) -> str:
        every = "the only slot" if self.slots == 1 else f"each of the {self.slots:,} slots"
        return f"it is the next one: {every} for queue {self.queue!r} is taken"


@dataclass(frozen=True, slots=True)
class IsAboutToStart(Reason):
    """Nothing holds it back.

    Attributes:
        step: How far its delivery is.
    """

    name = "about_to_start"
    step: str

    def _said(self) -> str:
        return f"nothing holds it back: {self.step}"


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
