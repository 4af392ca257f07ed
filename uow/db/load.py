"""How much waits and runs, by queue and task function: bounded looks, through indexes alone."""

from dataclasses import dataclass

from uow.db.backlog import LOOKED_AT
from uow.db.statement import INTEGER, REAL, Statements, template

MOST_RUNNING = 10_000
"""Running tasks that are looked up."""

_LOAD = template(
    "load",
    # In the halves of `backlog`. Said without the queue or the name that is asked for: of one that
    # has none, all would be looked at. What runs is LATERAL with a LIMIT: a join might read the
    # whole table for a few ids.
    """
    SELECT pushed, queue, name, count(*) AS looked_at,
           CAST(date_part('epoch', now() - min(run_at) FILTER (
               WHERE state <> 'running' AND run_at <= now())) AS double precision) AS seconds,
           count(*) FILTER (WHERE state <> 'running' AND run_at <= now()) AS due,
           count(*) FILTER (WHERE state <> 'running' AND run_at > now()) AS later,
           count(unknown_since) AS unknown, count(*) FILTER (WHERE deaths >= {suspect}) AS suspects,
           min(CAST(id AS text)) FILTER (WHERE deaths >= {suspect}) AS suspect
    FROM (
        (SELECT false AS pushed, queue, name, state, run_at, unknown_since, deaths, id FROM {task}
         WHERE settled_at IS NULL AND dispatch_at < 'infinity'
         ORDER BY dispatch_at, id LIMIT :most_waiting)
        UNION ALL
        (SELECT true AS pushed, queue, name, state, run_at, unknown_since, deaths, id FROM {task}
         WHERE settled_at IS NULL AND dispatch_at >= 'infinity'
         ORDER BY dispatch_at, id LIMIT :most_waiting)
    ) AS looked_at
    GROUP BY pushed, queue, name
    UNION ALL
    SELECT NULL AS pushed, task.queue, task.name, count(*) AS looked_at,
           CAST(date_part('epoch', now() - min(task.started_at)) AS double precision) AS seconds,
           0, 0, 0, 0, NULL
    FROM (SELECT unnest(running) AS id FROM {worker_process}
          WHERE heartbeat_at > now() - make_interval(secs => :dead_after)
          LIMIT :most_running) AS held
         CROSS JOIN LATERAL (
             SELECT queue, name, started_at FROM {task} AS one
             WHERE one.id = held.id AND one.state = 'running' LIMIT 1) AS task
    GROUP BY task.queue, task.name
    """,
    dead_after=REAL,
    most_waiting=INTEGER,
    most_running=INTEGER,
)


@dataclass(frozen=True, slots=True)
class WaitingTasks:
    """Unsettled tasks of one function in one queue, as far as was looked.

    Attributes:
        pushed: Their jobs are in Redis.
        looked_at: How many; running ones, too.
        oldest: Seconds for which one of the due ones has waited; None: there are none.
        due: How many wait for a worker.
        later: How many wait for their time.
        unknown: How many a worker has met without the function that they need.
        suspects: Under how many processes have died, so that they run alone.
        suspect: The id of one of those.
    """

    pushed: bool
    queue: str
    name: str
    looked_at: int
    oldest: float | None
    due: int
    later: int
    unknown: int
    suspects: int
    suspect: str | None


@dataclass(frozen=True, slots=True)
class RunningTasks:
    """Tasks of one function in one queue that live processes run.

    Attributes:
        longest: Seconds for which one of them has run.
    """

    queue: str
    name: str
    running: int
    longest: float | None


@dataclass(frozen=True, slots=True)
class TaskLoad:
    """What is unsettled: the first `LOOKED_AT` of what is in Redis, and of what is not; and what
    runs, as processes said in their last heartbeats."""

    waiting: list[WaitingTasks]
    running: list[RunningTasks]


async def read_load(
    db: Statements,
    dead_after: float,
    *,
    most_waiting: int = LOOKED_AT,
    most_running: int = MOST_RUNNING,
) -> TaskLoad:
    """What waits and what runs, with one statement.

    Args:
        dead_after: Seconds after which a silent process counts as dead.
    """
    statement = _LOAD(dead_after=dead_after, most_waiting=most_waiting, most_running=most_running)
    found = TaskLoad([], [])
    for pushed, queue, name, looked_at, seconds, *others in await db.execute_once(statement):
        if pushed is None:
            found.running.append(RunningTasks(queue, name, looked_at, seconds))
        else:
            found.waiting.append(WaitingTasks(pushed, queue, name, looked_at, seconds, *others))
    return found
