"""Events of tasks. Each is told after the fact, in the process in which it happened."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from uow.events.spine import Event

EndedAs = Literal[
    "completed", "retry", "snoozed", "cancelled", "failed", "handed back", "overtaken"
]
"""How an attempt ended. ``overtaken``: somebody else has decided, and nothing of it stays."""

SettledAs = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent(Event):
    """What the events of a task have in common.

    Attributes:
        id: The row's; None: it is rowless.
        job_id: Of its job in Redis; the same, unless a stock client has made it.
        name: Of its task function.
        queue: Its queue.
        user_id: Whose it is; None: nobody's.
        headers: What travels with it.
        schedule: The schedule that has asked for it; None: none has.
    """

    id: UUID | None
    job_id: str
    name: str
    queue: str
    user_id: str | None
    headers: Mapping[str, str]
    schedule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnqueued(TaskEvent):
    """A task was asked for, and that is committed.

    Told by the process that has asked, if a `TaskClient` is open in it (one of `uow.sync` tells on
    the thread that has asked); a task of a tick, a stock client's and one that SQL has inserted are
    not.

    Attributes:
        delay: Seconds until it is due.
    """

    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(TaskEvent):
    """An attempt has begun; its function is about to be called.

    It is told in the attempt's own context: a context variable that a listener sets has that value
    in the middleware, in the function, in what that begins and in its `on_commit` callbacks. An
    attempt is known by `job_id` and `attempt`, and each is followed by its `AttemptEnded`, unless
    the process ends first.

    Attributes:
        worker: The process's name in the fleet.
        attempt: Its number, from 1 on.
        tries: Failures of user code before it.
        waited: Seconds from when the task was due until the attempt began.
    """

    worker: str
    attempt: int
    tries: int
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(AttemptStarted):
    """An attempt has ended, and what became of it is written.

    If that could not be written, as Postgres is away, it is ``handed back``: its task runs again.
    It may be told in another context than the attempt's: what is completed together is.

    Attributes:
        outcome: How it ended.
        error: What it failed by; None: it has not failed.
        delay: Seconds until the next attempt is due; None: there will be none.
        ran: Seconds from its beginning until its outcome was written.
    """

    outcome: EndedAs
    error: BaseException | None
    delay: float | None
    ran: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettled(TaskEvent):
    """A task has reached a final state, by an attempt of this process.

    Attributes:
        state: Which.
        attempt: The number of its last attempt.
        error: Why it has not succeeded; None: it has.
    """

    state: SettledAs
    attempt: int
    error: BaseException | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTakenBack(Event):
    """The process that ran a task has died, and this one has taken it back.

    Attributes:
        id: The task's.
        queue: Its queue.
        deaths: How many processes have died under it.
        quarantined: Too many: it has failed.
    """

    id: UUID
    queue: str
    deaths: int
    quarantined: bool
