"""The statements by which somebody acts on several tasks at once; what does not fit is left alone.

Each takes ids, is guarded by the state that it needs, and answers those that it has changed. Retry
is `uow.db.interventions.retry_settled_many`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uow.db.delivery import Pushable
from uow.db.models import TaskState
from uow.db.statement import ID, IDS, INTEGER, REAL, Statements, template

_BY_KEY = template(
    "by_key",
    # A plan is kept as long as its connection. One that was made while the table was small, or has
    # no statistics, would read all of it from then on. What is off is given a price so high that
    # JIT would set in, which takes longer than any of these statements.
    """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
           set_config('enable_sort', 'off', true), set_config('jit', 'off', true),
           set_config('max_parallel_workers_per_gather', '0', true)
    """,
)

_CANCEL_MANY = template(
    "cancel_many",
    # Counted where it is settled: no attempt ends by it that a process could count. A row of the
    # inbox is JSON as `uow.services.counts` has it.
    """
    WITH cancelled AS (
        UPDATE {task}
        SET state = 'cancelled', ended = 'cancelled', settled_at = clock_timestamp(),
            expires_at = clock_timestamp() + make_interval(secs => :retention)
        WHERE id = ANY(:ids) AND {unsettled}
        RETURNING id, name, queue
    ), counted AS (
        INSERT INTO {rollup_inbox} (process, number, counts)
        SELECT {of_acts} || gen_random_uuid(), 0,
               json_build_array(json_build_array(0, json_agg(json_build_array(
                   left(name, 255), left(queue, 255), 'cancelled', n, CAST('[]' AS json),
                   CAST('[]' AS json))), CAST('[]' AS json)))
        FROM (SELECT name, queue, count(*) AS n FROM cancelled GROUP BY name, queue) AS each
        HAVING count(*) > 0
    )
    SELECT id FROM cancelled
    """,
    retention=REAL,
    ids=IDS,
)

_RUN_NOW = template(
    "run_now",
    """
    UPDATE {task} AS task
    SET state = 'queued', run_at = now(), dispatch_at = now() + {look_after}
    WHERE id = ANY(:ids) AND state IN ('scheduled', 'queued', 'retrying') AND run_at > now()
    RETURNING {to_be_pushed}
    """,
    ids=IDS,
)

_SET_PRIORITY = template(
    "set_priority",
    # As `held_back` has it, by the new priority. What runs is not pushed: its next delivery has it.
    """
    UPDATE {task} AS task
    SET priority = :priority,
        dispatch_at = CASE WHEN state IN ('running') THEN dispatch_at
                           WHEN run_at > now() + {lead} THEN run_at - {lead}
                           WHEN run_at > now() AND :priority > 0 THEN run_at
                           ELSE now() + {look_after} END
    WHERE id = ANY(:ids) AND {unsettled} AND priority <> :priority
    RETURNING {to_be_pushed}, state IN ('running') AS runs
    """,
    priority=INTEGER,
    ids=IDS,
)

_DELETE_SETTLED = template(
    "delete_settled",
    """
    DELETE FROM {task} AS task
    WHERE id = ANY(:ids) AND state IN ('succeeded', 'failed', 'cancelled')
      AND NOT EXISTS (SELECT FROM {schedule} AS schedule WHERE last_task_id = task.id)
    RETURNING id
    """,
    ids=IDS,
)

_JOBS_OF = template(
    "jobs_of",
    "SELECT id, coalesce(job_id, CAST(id AS text)) AS job_id FROM {task} WHERE id = ANY(:ids)",
    ids=IDS,
)

_STANDINGS = template(
    "standings",
    # Each key by its own index, one at a time: an OR would read the table.
    """
    SELECT task.id, task.state, task.run_at <= now() AS due, task.priority,
           coalesce(task.unique_key, task.waiting_key) AS key,
           EXISTS (SELECT FROM {schedule} AS schedule WHERE last_task_id = task.id) AS is_last,
           coalesce(
               (SELECT holder.id FROM {task} AS holder WHERE holder.settled_at IS NULL
                AND holder.unique_key = task.unique_key AND holder.id <> task.id LIMIT 1),
               (SELECT holder.id FROM {task} AS holder WHERE holder.settled_at IS NULL
                AND holder.waiting_key = task.waiting_key AND holder.id <> task.id LIMIT 1)
           ) AS holder
    FROM {task} AS task WHERE task.id = ANY(:ids)
    """,
    ids=IDS,
)

_LOCK_ENDED = template(
    "lock_ended",
    """
    SELECT name, CAST(args AS text) AS args FROM {task}
    WHERE id = :id AND state IN ('failed', 'cancelled') FOR UPDATE
    """,
    id=ID,
)

_EDIT_ARGUMENTS = template(
    "edit_arguments",
    "UPDATE {task} SET args = CAST(:args AS json) WHERE id = :id",
    id=ID,
)


@dataclass(frozen=True, slots=True)
class TaskStanding:
    """What a task is like on which an act had no effect.

    Attributes:
        due: It is due.
        key: Its unique key, if it has one.
        is_last: It is the last task of a schedule.
        holder: The unsettled task that has its unique key.
    """

    id: UUID
    state: TaskState
    due: bool
    priority: int
    key: str | None
    is_last: bool
    holder: UUID | None


@dataclass(frozen=True, slots=True)
class EndedTask:
    """A failed or cancelled task; `args` is JSON."""

    name: str
    args: str


async def go_by_key(db: Statements) -> None:
    """Let the statements of this transaction find tasks by indexes alone."""
    await db.execute_once(_BY_KEY())


async def cancel_many(db: Statements, ids: Sequence[UUID], retention: float) -> list[UUID]:
    """Settle tasks as cancelled, and count them; `retention` seconds later they are pruned."""
    records = await db.execute_once(_CANCEL_MANY(ids=ids, retention=retention))
    return [id_ for (id_,) in records]


async def run_now(db: Statements, ids: Sequence[UUID]) -> list[Pushable]:
    """Let tasks that wait for a time be due."""
    return [Pushable(*record) for record in await db.execute_once(_RUN_NOW(ids=ids))]


async def set_priority(
    db: Statements, ids: Sequence[UUID], priority: int
) -> list[tuple[Pushable, bool]]:
    """Give unsettled tasks another priority; with each, whether it runs."""
    records = await db.execute_once(_SET_PRIORITY(ids=ids, priority=priority))
    return [(Pushable(*row), runs) for *row, runs in records]


async def delete_settled(db: Statements, ids: Sequence[UUID]) -> list[UUID]:
    """Remove settled tasks, but for the last of a schedule, which says how that went."""
    return [id_ for (id_,) in await db.execute_once(_DELETE_SETTLED(ids=ids))]


async def jobs_of(db: Statements, ids: Sequence[UUID]) -> dict[UUID, str]:
    """The id in Redis of each task that is there."""
    return dict(await db.execute_once(_JOBS_OF(ids=ids)))


async def standings(db: Statements, ids: Sequence[UUID]) -> list[TaskStanding]:
    """What these tasks are like; not one that is not there."""
    records = await db.execute_once(_STANDINGS(ids=ids))
    return [TaskStanding(id_, TaskState(state), *rest) for id_, state, *rest in records]


async def lock_ended(db: Statements, task_id: UUID) -> EndedTask | None:
    """Keep a failed or cancelled task as it is until the transaction's end; None: it is neither."""
    records = await db.execute_once(_LOCK_ENDED(id=task_id))
    return EndedTask(*records[0]) if records else None


async def edit_arguments(db: Statements, task_id: UUID, args: str) -> None:
    """Give a task, which is locked, other arguments, as JSON."""
    await db.execute_once(_EDIT_ARGUMENTS(id=task_id, args=args))
