"""The statements that take back what dead processes have left behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uow.db.fleet import FLEET_DUTY
from uow.db.models import TaskState
from uow.db.statement import IDS, REAL, SILENT_SECONDS, TEXTS, Statements, template

_FIND_DEAD = template(
    "find_dead",
    # Should there be one, the rest of the transaction reads no table as a whole: what was settled
    # is most of it.
    """
    SELECT id, leaving, {fenced}, set_config('enable_seqscan', 'off', true)
    FROM {worker_process}
    WHERE heartbeat_at < now() - make_interval(secs => :seconds) FOR UPDATE SKIP LOCKED
    """,
    seconds=REAL,
)

_FIND_LEFT_BEHIND = template(
    "find_left_behind",
    # A look at the unsettled tasks, and at each of them once. (What a process said last that it ran
    # would be less: it may die of what it has just started.)
    """
    SELECT id, worker, alone, attempt FROM {task} AS task
    WHERE settled_at IS NULL AND dispatch_at <= 'infinity' AND state = 'running'
      AND worker = ANY(:processes)
    FOR UPDATE SKIP LOCKED
    """,
    processes=TEXTS,
)

_RESCUE = template(
    "rescue",
    # A death is counted unless the process was leaving by itself; against a suspect only if it ran
    # alone, and if no process has died for :calm seconds that it cannot have killed. A suspect
    # under which too many died is failed.
    """
    WITH left_behind AS (
        SELECT task.id, task.attempt, task.worker, task.started_at, process.leaving,
               deaths + CASE WHEN process.leaving THEN 0
                             WHEN deaths < {suspect} THEN 1
                             WHEN alone AND NOT EXISTS (
                                 SELECT FROM {worker_leader}
                                 WHERE storm_at > now() - make_interval(secs => :calm))
                             THEN 1
                             ELSE 0 END AS deaths
        FROM {task} AS task JOIN {worker_process} AS process ON process.id = task.worker
        WHERE task.id = ANY(:ids) AND state = 'running' AND process.id = ANY(:processes)
        FOR UPDATE OF task SKIP LOCKED
    ), noted AS (
        INSERT INTO {task_error} (task_id, attempt, error_type, message, worker, started_at)
        SELECT id, attempt, 'ProcessDied',
               CASE WHEN deaths >= {quarantine}
                    THEN 'quarantined: the process died each time this task ran, also alone'
                    ELSE 'the process that ran this attempt is gone' END,
               worker, started_at
        FROM left_behind WHERE NOT leaving
    )
    UPDATE {task} AS task
    SET state = CASE WHEN l.deaths >= {quarantine} THEN 'failed' ELSE 'queued' END,
        ended = CASE WHEN l.deaths >= {quarantine} THEN 'failed' END,
        settled_at = CASE WHEN l.deaths >= {quarantine} THEN clock_timestamp() END,
        expires_at = CASE WHEN l.deaths >= {quarantine}
                          THEN clock_timestamp() + make_interval(secs => :retention) END,
        deaths = l.deaths, alone = false, worker = NULL, unknown_since = NULL,
        dispatch_at = now()
    FROM left_behind AS l WHERE task.id = l.id
    RETURNING task.id, coalesce(task.job_id, CAST(task.id AS text)) AS job_id, task.queue,
              CAST(extract(epoch FROM task.run_at) * 1000 AS bigint) AS due_ms, task.priority,
              task.state, task.deaths
    """,
    ids=IDS,
    processes=TEXTS,
    calm=REAL,
    retention=REAL,
)

_NOTE_STORM = template(
    "note_storm",
    """
    INSERT INTO {worker_leader} (duty, holder, until, storm_at)
    VALUES (:duty, '', '-infinity', now())
    ON CONFLICT (duty) DO UPDATE SET storm_at = excluded.storm_at
    """,
)

_FORGET_DEAD = template(
    "forget_dead", "DELETE FROM {worker_process} WHERE id = ANY(:processes)", processes=TEXTS
)

_END_SESSIONS = template(
    "end_sessions",
    """
    SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity JOIN unnest(:marks) AS dead (mark)
         ON strpos(application_name, mark) > 0
    WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()
    """,
    marks=TEXTS,
)


@dataclass(frozen=True, slots=True)
class DeadProcess:
    """A process without a heartbeat.

    Attributes:
        leaving: It was about to end by itself.
    """

    id: str
    leaving: bool


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """A task that a dead process ran.

    Attributes:
        alone: Nothing else ran in that process.
    """

    id: UUID
    worker: str
    alone: bool
    attempt: int


@dataclass(frozen=True, slots=True)
class Rescued:
    """A task that was taken back; a quarantined one is failed.

    Attributes:
        job_id: Its id in Redis.
        due_ms: When it is due, in Unix milliseconds.
        deaths: How many processes have died under it.
    """

    id: UUID
    job_id: str
    queue: str
    due_ms: int
    priority: int
    state: TaskState
    deaths: int


async def find_dead(db: Statements, seconds: float) -> list[DeadProcess]:
    """The processes whose heartbeat is older; locked, but for those that others look at."""
    records = await db.execute_once(_FIND_DEAD(seconds=seconds))
    return [DeadProcess(id_, leaving) for id_, leaving, *_ in records]


async def find_left_behind(db: Statements, processes: Sequence[str]) -> list[LeftBehind]:
    """What `processes` ran."""
    records = await db.execute_once(_FIND_LEFT_BEHIND(processes=processes))
    return [LeftBehind(*record) for record in records]


async def rescue(
    db: Statements,
    task_ids: Sequence[UUID],
    processes: Sequence[str],
    *,
    calm: float,
    retention: float,
) -> list[Rescued]:
    """Take tasks of dead processes back, and count the deaths.

    Args:
        calm: So many seconds no process must have died that a suspect cannot have killed, before
            its own deaths count.
        retention: Seconds that a quarantined task is kept.
    """
    statement = _RESCUE(ids=task_ids, processes=processes, calm=calm, retention=retention)
    return [
        Rescued(id_, job_id, queue, due_ms, priority, TaskState(state), deaths)
        for id_, job_id, queue, due_ms, priority, state, deaths in await db.execute_once(statement)
    ]


async def note_storm(db: Statements) -> None:
    """A process has died that no suspect can have killed."""
    await db.execute_once(_NOTE_STORM(duty=FLEET_DUTY))


async def forget_dead(db: Statements, processes: Sequence[str]) -> None:
    """Nothing is left of them to take back."""
    await db.execute_once(_FORGET_DEAD(processes=processes))


async def end_sessions(
    db: Statements, marks: Sequence[str], *, limit: float = SILENT_SECONDS
) -> None:
    """End what Postgres still does for dead processes, named by `marks` (`uow.db.opening`).

    They may have left transactions behind: a statement that goes on, or one that was stopped
    between two. Sees, and may end, those of the same role.
    """
    await db.execute_once(_END_SESSIONS(marks=marks), limit=limit)
