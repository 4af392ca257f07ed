"""Events of processes, servers and schedules."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from uow.events.spine import Event

Server = Literal["postgres", "redis"]


@dataclass(frozen=True, slots=True)
class ScheduleInCode:
    """A schedule that a process has in its code.

    Attributes:
        name: Unique in the app.
        expression: As in a crontab, with or without seconds; or ``@every 90 s``.
        timezone: Whose clocks it goes by.
    """

    name: str
    expression: str
    timezone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """A worker process is ready; it has not claimed anything yet.

    Attributes:
        worker: Its name in the fleet.
        queues: What it serves.
        concurrency: How many tasks it runs at once.
        schedules: Those of its code.
    """

    worker: str
    queues: tuple[str, ...]
    concurrency: int
    schedules: tuple[ScheduleInCode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStopped(Event):
    """A worker process ends; nothing runs in it any more.

    Attributes:
        worker: Its name in the fleet.
    """

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopBlocked(Event):
    """The event loop of a worker process turns again after something has blocked it.

    Attributes:
        worker: Its name in the fleet.
        seconds: For how long.
        blocker: What has run, and where.
    """

    worker: str
    seconds: float
    blocker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAway(Event):
    """A server does not answer this process.

    Attributes:
        server: Which.
        error: What a question has met.
    """

    server: Server
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBack(Event):
    """A server that was away answers again.

    Attributes:
        server: Which.
        seconds: For how long it was away, as this process has noticed it.
    """

    server: Server
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TickFired(Event):
    """A tick of a schedule has its task; told by the leader.

    Attributes:
        app: The schedule's.
        schedule: Its name.
        tick: The moment that it is for.
        task_id: The task's.
        late: Seconds from the tick until now.
    """

    app: str
    schedule: str
    tick: datetime
    task_id: UUID
    late: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TickMissed(Event):
    """Ticks have passed while no worker was there; told by the leader.

    Attributes:
        app: The schedule's.
        schedule: Its name.
        first: The first of them.
        last: The last one.
    """

    app: str
    schedule: str
    first: datetime
    last: datetime
