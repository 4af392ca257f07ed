"""The statements that remove settled tasks, and old ticks of schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uow.db.statement import ID, IDS, INTEGER, REAL, TEXT, Statements, template

_EXPIRED = template(
    "expired",
    """
    SELECT id, coalesce(job_id, CAST(id AS text)) AS job_id,
           CAST(expires_at AS text) AS expires
    FROM {task} AS task
    WHERE settled_at IS NOT NULL AND expires_at < now()
      AND expires_at >= CAST(:expires AS timestamptz)
      AND (expires_at, id) > (CAST(:expires AS timestamptz), :after)
      AND NOT EXISTS (SELECT FROM {schedule} AS schedule WHERE last_task_id = task.id)
    ORDER BY expires_at, id LIMIT :limit
    """,
    expires=TEXT,
    after=ID,
    limit=INTEGER,
)

_PRUNE = template(
    "prune",
    """
    DELETE FROM {task}
    WHERE id = ANY(:ids) AND settled_at IS NOT NULL AND expires_at < now()
    RETURNING id
    """,
    ids=IDS,
)

_PRUNE_TICKS = template(
    "prune_ticks",
    """
    DELETE FROM {schedule_tick} AS tick
    WHERE (app, name, tick) IN (
        SELECT app, name, tick FROM {schedule_tick}
        WHERE noted_at < now() - make_interval(secs => :retention) AND fate <> 'waiting'
        LIMIT :limit)
    RETURNING 1
    """,
    retention=REAL,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class Expired:
    """A task whose retention has ended.

    Attributes:
        job_id: Its id in Redis.
        expires: When it has ended, as Postgres writes it.
    """

    id: UUID
    job_id: str
    expires: str


async def expired(db: Statements, expires: str, after: UUID, limit: int) -> list[Expired]:
    """What retention has ended for, oldest first, behind the row `after` that has `expires`.

    Not the last task of a schedule, which says how that went.
    """
    statement = _EXPIRED(expires=expires, after=after, limit=limit)
    return [Expired(*record) for record in await db.execute_once(statement)]


async def prune(db: Statements, task_ids: Sequence[UUID]) -> int:
    """Remove tasks, but none that somebody has asked to run again; returns how many it were."""
    return len(await db.execute_once(_PRUNE(ids=task_ids)))


async def prune_ticks(db: Statements, retention: float, limit: int) -> int:
    """Forget ticks that were noted more than `retention` seconds ago; returns how many it were."""
    return len(await db.execute_once(_PRUNE_TICKS(retention=retention, limit=limit)))
