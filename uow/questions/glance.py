"""The fleet at a glance: what waits in each queue, and who works."""

import time
from collections import defaultdict
from dataclasses import dataclass

from uow.db.backlog import LOOKED_AT, Backlog, backlog
from uow.db.database import Database
from uow.db.models import TaskState
from uow.questions.workers import ShownWorker, fleet

LIMIT_SECONDS = 5.0
"""For the look at the backlog."""


@dataclass(frozen=True, slots=True)
class QueueAtAGlance:
    """One queue.

    Attributes:
        waiting: Tasks that are queued.
        later: Tasks that are scheduled, or retrying.
        running: Tasks that run.
        oldest_seconds: For how long the one has been due that has waited longest; None: none is.
    """

    queue: str
    waiting: int
    later: int
    running: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class Glance:
    """The fleet.

    Attributes:
        queues: By name; those that have an unsettled task, and those that are served.
        capped: There are more tasks than were counted: numbers are lower bounds then.
        workers_capped: There are more workers, or they run more tasks, than are shown.
    """

    queues: list[QueueAtAGlance]
    workers: list[ShownWorker]
    capped: bool
    workers_capped: bool


async def glance(db: Database, dead_after: float) -> Glance:
    """Look once, with four short statements.

    Args:
        dead_after: Seconds without a heartbeat after which a process counts as dead.
    """
    found = await backlog(db, limit=LIMIT_SECONDS)
    shown = await fleet(db, dead_after)
    by_queue: defaultdict[str, list[Backlog]] = defaultdict(list)
    for one in found:
        by_queue[one.queue].append(one)
    served = {queue for one in shown.workers for queue in one.queues}
    return Glance(
        queues=[_queue(name, by_queue[name]) for name in sorted({*by_queue, *served})],
        workers=shown.workers,
        capped=sum(one.tasks for one in found) >= LOOKED_AT,
        workers_capped=shown.capped,
    )


def _queue(name: str, found: list[Backlog]) -> QueueAtAGlance:
    tasks = {one.state: one.tasks for one in found}
    oldest = min((one.oldest_due for one in found if one.oldest_due is not None), default=None)
    return QueueAtAGlance(
        queue=name,
        waiting=tasks.get(TaskState.QUEUED, 0),
        later=tasks.get(TaskState.SCHEDULED, 0) + tasks.get(TaskState.RETRYING, 0),
        running=tasks.get(TaskState.RUNNING, 0),
        oldest_seconds=None if oldest is None else max(time.time() - oldest, 0.0),
    )
