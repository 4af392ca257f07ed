"""How much waits: a bounded look at the unsettled tasks, through their index alone."""

from dataclasses import dataclass

from uow.db.database import Database
from uow.db.statement import INTEGER, template

LOOKED_AT = 10_000
"""Tasks of each half that are looked at: some ten milliseconds, however long the table is."""

BY_INDEX = template(
    "by_index",
    # A plan is kept as long as its connection. One that was made while the table was small, or has
    # no statistics, would read all of it from then on; so would one that has to sort.
    """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_sort', 'off', true)
    """,
)

_BACKLOG = template(
    "backlog",
    # In two halves, so that a million that are due next year hide nothing: what waits in Postgres,
    # in the order in which the relay looks at it, and what has been pushed, the oldest ids first.
    """
    SELECT queue, state, count(*) AS tasks,
           CAST(date_part('epoch', min(run_at) FILTER (
               WHERE run_at <= now() AND state <> 'running')) AS double precision) AS oldest_due,
           CAST(date_part('epoch', now() - min(dispatch_at) FILTER (
               WHERE dispatch_at <= now())) AS double precision) AS unlooked
    FROM (
        (SELECT queue, state, run_at, dispatch_at FROM {task}
         WHERE settled_at IS NULL AND dispatch_at < 'infinity'
         ORDER BY dispatch_at, id LIMIT :limit)
        UNION ALL
        (SELECT queue, state, run_at, dispatch_at FROM {task}
         WHERE settled_at IS NULL AND dispatch_at >= 'infinity'
         ORDER BY dispatch_at, id LIMIT :limit)
    ) AS looked_at
    GROUP BY queue, state
    """,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The tasks of one queue in one state, as far as was looked.

    Attributes:
        tasks: How many.
        oldest_due: When the one that has waited longest was due, in seconds since 1970; None: none
            of them waits for a worker.
        unlooked: Seconds for which the relay has not looked at one that it should have; None: it
            has looked at all.
    """

    queue: str
    state: str
    tasks: int
    oldest_due: float | None
    unlooked: float | None


async def backlog(db: Database, *, limit: float) -> list[Backlog]:
    """What is unsettled, by queue and state: the first `LOOKED_AT` of those that are pushed, and of
    those that are not.

    Args:
        limit: Seconds that it may take.
    """
    async with db.transaction(limit=limit) as transaction:
        await transaction.execute_once(BY_INDEX())
        records = await transaction.execute_once(_BACKLOG(limit=LOOKED_AT))
    return [Backlog(*record) for record in records]
