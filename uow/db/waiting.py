"""The statements that tell why a task waits: its row, and the processes that could run it."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from uow.db.fleet import FLEET_DUTY
from uow.db.models import TaskState
from uow.db.pauses import StoredPause
from uow.db.statement import ID, INTEGER, REAL, TEXT, Statements, template

MOST_PROCESSES = 1000
"""Processes that are looked at; those that live first."""

_WAITING_TASK = template(
    "waiting_task",
    """
    SELECT id, name, state, queue, coalesce(job_id, CAST(id AS text)) AS job_id, run_at,
           dispatch_at = 'infinity' AS pushed, started_at, settled_at, attempt, tries, deaths,
           alone, setback, unknown_since, worker, now() AS now,
           coalesce((SELECT until > now() FROM {worker_leader} WHERE duty = :duty), false) AS led,
           paused.number, paused.kind, paused.target, paused.reason, paused.paused_by,
           paused.paused_at, paused.until
    FROM {task} AS task LEFT JOIN LATERAL (
        SELECT number, kind, target, reason, paused_by, paused_at, until FROM {pause}
        WHERE {is_paused} AND (kind = 'everything' OR kind = 'queue' AND target = task.queue
                               OR kind = 'name' AND target = task.name
                               OR kind = 'user' AND target = task.user_id)
        ORDER BY number LIMIT 1) AS paused ON true
    WHERE id = :id
    """,
    id=ID,
    duty=TEXT,
)

_SERVING_PROCESSES = template(
    "serving_processes",
    # A process that has left says so with a heartbeat at the beginning of time.
    """
    SELECT process.id, :queue = ANY(string_to_array(process.queue, ',')) AS serves,
           heartbeat_at > now() - make_interval(secs => :dead_after) AS lives, leaving,
           slots, busy, unknown_task_grace, :function = ANY(code.names) AS knows
    FROM {worker_process} AS process
    LEFT JOIN {worker_code} AS code ON code.fingerprint = process.code
    WHERE :queue = ANY(string_to_array(process.queue, ',')) OR process.id = :worker
    ORDER BY process.id = :worker DESC NULLS LAST, heartbeat_at DESC LIMIT :limit
    """,
    queue=TEXT,
    function=TEXT,
    worker=TEXT,
    dead_after=REAL,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """What of a row tells why its task waits.

    Attributes:
        job_id: Its id in Redis.
        pushed: It was pushed to Redis, and should be there unless it runs.
        alone: Its attempt runs alone in its process.
        setback: What a server's failure was that has handed its last attempt back.
        unknown_since: When a worker first met it without its function, if none since has had that.
        worker: The process that runs it, or has run it last.
        now: By Postgres's clock, as all moments here.
        led: The fleet has a leader.
        pause: What keeps it from starting; None: nothing is paused that it belongs to.
    """

    id: UUID
    name: str
    state: TaskState
    queue: str
    job_id: str
    run_at: datetime
    pushed: bool
    started_at: datetime | None
    settled_at: datetime | None
    attempt: int
    tries: int
    deaths: int
    alone: bool
    setback: str | None
    unknown_since: datetime | None
    worker: str | None
    now: datetime
    led: bool
    pause: StoredPause | None = None


@dataclass(frozen=True, slots=True)
class ServingProcess:
    """A process that serves the queue of a task, or is the one that ran it last.

    What is None is not known: a worker of an older version does not say it.

    Attributes:
        serves: It serves the queue.
        lives: Its heartbeat is not too old.
        leaving: It claims nothing any more.
        slots: How many tasks it runs at once.
        busy: How many of them it runs.
        unknown_task_grace: Seconds for which it lets a task wait whose function it does not have.
        knows: It has the task's function.
    """

    id: str
    serves: bool
    lives: bool
    leaving: bool
    slots: int | None
    busy: int | None
    unknown_task_grace: float | None
    knows: bool | None

    @property
    def claims(self) -> bool:
        """Whether it may claim tasks of the queue."""
        return self.serves and self.lives and not self.leaving


async def waiting_task(db: Statements, task_id: UUID) -> WaitingTask | None:
    """A task's row; None: it is not there."""
    records = await db.execute_once(_WAITING_TASK(id=task_id, duty=FLEET_DUTY))
    for id_, name, state, *others, number, kind, target, reason, by, at, until in records:
        task = WaitingTask(id_, name, TaskState(state), *others)
        if number is None:
            return task
        return replace(task, pause=StoredPause(number, kind, target, reason, by, at, until))
    return None


async def serving_processes(
    db: Statements, task: WaitingTask, dead_after: float
) -> list[ServingProcess]:
    """The processes that serve a task's queue, and the one that ran it last.

    Args:
        dead_after: Seconds without a heartbeat after which a process counts as dead.
    """
    statement = _SERVING_PROCESSES(
        queue=task.queue,
        function=task.name,
        worker=task.worker,
        dead_after=dead_after,
        limit=MOST_PROCESSES,
    )
    return [ServingProcess(*record) for record in await db.execute_once(statement)]
