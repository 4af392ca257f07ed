"""The workers there are: what each is, how it is, and what it runs since when.

Two statements: the processes' own rows, and by their ids the tasks that they run. What is None is
not known: a worker of an older version does not say it.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.statement import Statements
from uow.db.workers import LivingProcess, RunningAttempt, processes, running_tasks

MOST_WORKERS = 1000
"""Processes that are shown, in the order of their names."""

MOST_RUNNING = 5000
"""Tasks that are looked up; of those beyond it only their number is known."""


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """What a worker runs.

    Attributes:
        id: The task's.
        since: When the attempt began.
    """

    id: UUID
    name: str
    attempt: int
    since: datetime


@dataclass(frozen=True, slots=True)
class ShownWorker:
    """One worker process.

    Attributes:
        id: Its name in the fleet: host, process id and what tells it from all others.
        version: The release of ours that it runs.
        slots: How many tasks it runs at once.
        busy: How many of its slots are taken, also by rowless tasks.
        running: What it runs, the longest first.
        lag: Seconds for which its event loop does not turn, or has not within the last minute.
        pool_busy: Connections of its pool that somebody has.
        pool_idle: Those that are open and free.
        pool_room: How many more it may open.
        heartbeat_age: Seconds since its last heartbeat.
        lives: That is not too long.
        leaving: It has been told to stop.
        leads: It does what is done once in the whole fleet.
    """

    id: str
    host: str | None
    pid: int | None
    version: str | None
    app: str
    queues: list[str]
    slots: int | None
    busy: int | None
    running: list[ShownAttempt]
    lag: float | None
    pool_busy: int | None
    pool_idle: int | None
    pool_room: int | None
    started_at: datetime
    heartbeat_age: float
    lives: bool
    leaving: bool
    leads: bool


@dataclass(frozen=True, slots=True)
class ShownFleet:
    """The worker processes, by name.

    Attributes:
        capped: There are more than `MOST_WORKERS`, or they run more than `MOST_RUNNING` tasks: the
            rest is not shown.
    """

    workers: list[ShownWorker]
    capped: bool


async def workers(db: Statements, dead_after: float) -> list[ShownWorker]:
    """The worker processes of the fleet, by name: those of `fleet`."""
    return (await fleet(db, dead_after)).workers


async def fleet(db: Statements, dead_after: float) -> ShownFleet:
    """The fleet, and whether that is all of it.

    Args:
        dead_after: Seconds without a heartbeat after which a process counts as dead.
    """
    found = await processes(db, dead_after, MOST_WORKERS + 1)
    is_capped = len(found) > MOST_WORKERS
    del found[MOST_WORKERS:]
    held = dict.fromkeys(task_id for one in found for task_id in one.running)
    ids = [*held][:MOST_RUNNING]  # one that was overtaken is held twice
    running: defaultdict[str, list[RunningAttempt]] = defaultdict(list)
    for task in await running_tasks(db, ids) if ids else []:
        running[task.worker].append(task)
    shown = [_shown(one, running[one.id]) for one in found]
    return ShownFleet(shown, is_capped or len(held) > MOST_RUNNING)


def _shown(one: LivingProcess, running: list[RunningAttempt]) -> ShownWorker:
    profile, signs = one.profile, one.signs
    return ShownWorker(
        id=one.id,
        host=profile.host,
        pid=profile.pid,
        version=profile.version,
        app=one.app,
        queues=one.queues,
        slots=profile.slots,
        busy=signs.busy,
        running=[
            ShownAttempt(task.id, task.name, task.attempt, task.started_at)
            for task in sorted(running, key=lambda task: (task.started_at, task.id))
        ],
        lag=signs.lag,
        pool_busy=signs.pool_busy,
        pool_idle=signs.pool_idle,
        pool_room=signs.pool_room,
        started_at=one.started_at,
        heartbeat_age=round(one.silent, 3),
        lives=one.lives,
        leaving=one.leaving,
        leads=one.leads,
    )
