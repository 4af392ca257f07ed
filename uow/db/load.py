"""How much waits and runs, by queue and task function: bounded looks, through indexes alone."""

from dataclasses import dataclass

from uow.db.backlog import LOOKED_AT
from uow.db.statement import INTEGER, REAL, Statements, template

MOST_RUNNING = 10_000
"""Running tasks that are looked up."""

_WAITING = template(
    "waiting",
    # In the halves of `backlog`. Said without the queue or the name that is asked for: of one that
    # has none, all would be looked at.
    """
    SELECT pushed, queue, name, count(*) AS looked_at,
           count(*) FILTER (WHERE state <> 'running' AND run_at <= now()) AS due,
           count(*) FILTER (WHERE state <> 'running' AND run_at > now()) AS later,
           CAST(date_part('epoch', now() - min(run_at) FILTER (
               WHERE state <> 'running' AND run_at <= now())) AS double precision) AS oldest
    FROM (
        (SELECT false AS pushed, queue, name, state, run_at FROM {task}
         WHERE settled_at IS NULL AND dispatch_at < 'infinity'
         ORDER BY dispatch_at, id LIMIT :limit)
        UNION ALL
        (SELECT true AS pushed, queue, name, state, run_at FROM {task}
         WHERE settled_at IS NULL AND dispatch_at >= 'infinity'
         ORDER BY dispatch_at, id LIMIT :limit)
    ) AS looked_at
    GROUP BY pushed, queue, name
    """,
    limit=INTEGER,
)

_RUNNING = template(
    "running",
    # LATERAL with a LIMIT: a join might read the whole table for a few ids.
    """
    SELECT task.queue, task.name, count(*) AS running,
           CAST(date_part('epoch', now() - min(task.started_at)) AS double precision) AS longest
    FROM (SELECT unnest(running) AS id FROM {worker_process}
          WHERE heartbeat_at > now() - make_interval(secs => :dead_after) LIMIT :limit) AS held
         CROSS JOIN LATERAL (
             SELECT queue, name, started_at FROM {task} AS one
             WHERE one.id = held.id AND one.state = 'running' LIMIT 1) AS task
    GROUP BY task.queue, task.name
    """,
    dead_after=REAL,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class WaitingTasks:
    """Unsettled tasks of one function in one queue, as far as was looked.

    Attributes:
        pushed: Their jobs are in Redis.
        looked_at: How many; running ones, too.
        due: How many wait for a worker.
        later: How many wait for their time.
        oldest: Seconds for which one of the due ones has waited; None: there are none.
    """

    pushed: bool
    queue: str
    name: str
    looked_at: int
    due: int
    later: int
    oldest: float | None


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


async def read_waiting(db: Statements, limit: int = LOOKED_AT) -> list[WaitingTasks]:
    """What is unsettled: the first `limit` of what is in Redis, and of what is not."""
    return [WaitingTasks(*record) for record in await db.execute_once(_WAITING(limit=limit))]


async def read_running(
    db: Statements, dead_after: float, limit: int = MOST_RUNNING
) -> list[RunningTasks]:
    """What runs, as processes said in their last heartbeats.

    Args:
        dead_after: Seconds after which a silent process counts as dead.
    """
    records = await db.execute_once(_RUNNING(dead_after=dead_after, limit=limit))
    return [RunningTasks(*record) for record in records]
