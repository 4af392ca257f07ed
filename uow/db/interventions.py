"""The statements by which somebody decides about a task from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.delivery import Pushable
from uow.db.statement import ID, IDS, INTEGER, MOMENT, REAL, TEXTS, Statements, template

_CANCEL = template(
    "cancel",
    """
    UPDATE {task}
    SET state = 'cancelled', ended = 'cancelled', settled_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => :retention)
    WHERE id = :id AND {unsettled}
    RETURNING id, queue, job_id
    """,
    retention=REAL,
    id=ID,
)

_RETRY_SETTLED = template(
    "retry_settled",
    # uq_task_unique_key and uq_task_waiting_key refuse it if another task has its key.
    "{run_again} AND id = :id RETURNING {to_be_pushed}",
    id=ID,
)

_RETRY_SETTLED_MANY = template(
    "retry_settled_many",
    """
    {run_again} AND id = ANY(:ids)
        AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                        AND holder.unique_key = task.unique_key)
        AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                        AND holder.waiting_key = task.waiting_key)
    RETURNING {to_be_pushed}
    """,
    ids=IDS,
)

_FIND_KEY_HOLDER = template(
    "find_key_holder",
    """
    SELECT holder.id, coalesce(holder.unique_key, holder.waiting_key) AS key
    FROM {task} AS task JOIN {task} AS holder
        ON holder.unique_key = task.unique_key OR holder.waiting_key = task.waiting_key
    WHERE task.id = :id AND task.settled_at IS NOT NULL AND holder.settled_at IS NULL
    """,
    id=ID,
)

_FIND_RETRYABLE = template(
    "find_retryable",
    # `ended` has an index; what an older version has settled since `worker migrate` does not say
    # it.
    """
    SELECT id FROM (
        SELECT id, settled_at, row_number() OVER (
            PARTITION BY coalesce('u' || unique_key, 'w' || waiting_key, CAST(id AS text))
            ORDER BY settled_at DESC) AS place
        FROM {task} AS task
        WHERE ended = ANY(:states) AND state = ANY(:states)
          AND (CAST(:name AS text) IS NULL OR name = :name)
          AND (CAST(:queue AS text) IS NULL OR queue = :queue)
          AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id)
          AND settled_at < coalesce(CAST(:settled_before AS timestamptz), 'infinity')
          AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                          AND holder.unique_key = task.unique_key)
          AND NOT EXISTS (SELECT FROM {task} AS holder WHERE holder.settled_at IS NULL
                          AND holder.waiting_key = task.waiting_key)
    ) AS meant WHERE place = 1 ORDER BY settled_at LIMIT :limit
    """,
    states=TEXTS,
    settled_before=MOMENT,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The unsettled task that holds a key."""

    id: UUID
    key: str


async def cancel(db: Statements, task_id: UUID, retention: float) -> bool:
    """Settle a task as cancelled, at once; a running attempt finds out at its commit.

    Args:
        retention: Seconds that the settled task is kept.

    Returns:
        False: it is settled already, or not there.
    """
    return bool(await db.execute_once(_CANCEL(id=task_id, retention=retention)))


async def retry_settled(db: Statements, task_id: UUID) -> Pushable | None:
    """Let a failed or cancelled task run again, with all its tries; None: it is neither.

    An attempt of it that has not found out yet that it was cancelled is not this one any more: its
    failure is not the new run's.

    Raises:
        asyncpg.UniqueViolationError: Another task has its key.
    """
    records = await db.execute_once(_RETRY_SETTLED(id=task_id))
    return Pushable(*records[0]) if records else None


async def retry_settled_many(db: Statements, task_ids: Sequence[UUID]) -> list[Pushable]:
    """`retry_settled` for a batch; left alone is a task whose key another has.

    Raises:
        asyncpg.UniqueViolationError: A key was taken at this very moment.
    """
    return [
        Pushable(*record) for record in await db.execute_once(_RETRY_SETTLED_MANY(ids=task_ids))
    ]


async def find_key_holder(db: Statements, task_id: UUID) -> KeyHolder | None:
    """The unsettled task that holds the key of this settled one."""
    records = await db.execute_once(_FIND_KEY_HOLDER(id=task_id))
    return KeyHolder(*records[0]) if records else None


async def find_retryable(
    db: Statements,
    *,
    states: Sequence[str],
    name: str | None,
    queue: str | None,
    user_id: str | None,
    settled_before: datetime | None,
    limit: int | None,
) -> list[UUID]:
    """The failed or cancelled tasks that fit everything that is given, the longest settled first.

    Of several with one unique key it is the youngest, and none if another task has the key.
    """
    statement = _FIND_RETRYABLE(
        states=states,
        name=name,
        queue=queue,
        user_id=user_id,
        settled_before=settled_before,
        limit=limit,
    )
    return [id_ for (id_,) in await db.execute_once(statement)]
