"""The statements about pauses: of a queue, of a task function, of a user, of everything.

A paused queue is not claimed from. A task of a paused function or user that was claimed is held
back: it leaves Redis, and its row waits for its pause's own moment in the year 9000, where no relay
and no rescuer comes to it. When the pause is over, the leader lets go what it held, page by page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from uow.db.statement import IDS, INTEGER, MOMENT, TEXT, Statements, template

Kind = Literal["everything", "queue", "name", "user"]
"""What can be paused."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_PAUSE = template(
    "pause_starts",
    # One that is over, and whose end the leader has not come to, is no obstacle.
    """
    WITH over AS (
        UPDATE {pause} SET resumed_at = now()
        WHERE kind = :kind AND target = :target AND resumed_at IS NULL
          AND until IS NOT NULL AND until <= now()
        RETURNING number)
    INSERT INTO {pause} AS pause (kind, target, reason, paused_by, until)
    SELECT :kind, :target, :reason, :paused_by, :until
    WHERE NOT EXISTS (SELECT FROM over)
    ON CONFLICT (kind, target) WHERE resumed_at IS NULL
    DO UPDATE SET reason = excluded.reason, until = excluded.until,
                  paused_by = excluded.paused_by, paused_at = now()
    RETURNING number
    """,
    kind=TEXT,
    target=TEXT,
    reason=TEXT,
    paused_by=TEXT,
    until=MOMENT,
)

_RESUME = template(
    "resume_starts",
    """
    UPDATE {pause} SET resumed_at = now()
    WHERE kind = :kind AND target = :target AND resumed_at IS NULL
    RETURNING number
    """,
    kind=TEXT,
    target=TEXT,
)

_PAUSES = template(
    "pauses",
    """
    SELECT number, kind, target, reason, paused_by, paused_at, until
    FROM {pause} WHERE {is_paused} ORDER BY number
    """,
)

_HOLD = template(
    "hold",
    # FOR SHARE: who resumes waits for it, and nothing is held by a pause that is over.
    """
    UPDATE {task} AS task
    SET dispatch_at = paused.moment
    FROM (SELECT * FROM unnest(:ids) LIMIT cardinality(:ids)) AS given (id)
         CROSS JOIN LATERAL (
             SELECT id, name, user_id FROM {task} AS candidate
             WHERE candidate.id = given.id AND {unsettled} AND state <> 'running'
             FOR UPDATE SKIP LOCKED) AS due
         CROSS JOIN LATERAL (
             SELECT {when_resumed} AS moment FROM {pause}
             WHERE {is_paused} AND (kind = 'name' AND target = due.name
                                    OR kind = 'user' AND target = due.user_id)
             ORDER BY number LIMIT 1 FOR SHARE) AS paused
    WHERE task.id = due.id
    RETURNING task.id
    """,
    ids=IDS,
)

_OVER = template(
    "pauses_that_are_over",
    """
    UPDATE {pause} SET resumed_at = coalesce(resumed_at, now())
    WHERE number IN (SELECT number FROM {pause} WHERE NOT ({is_paused})
                     ORDER BY number LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING number
    """,
    limit=INTEGER,
)

_LET_GO = template(
    "let_go",
    # The moment is said as a range: with `=` the planner may take the primary key.
    """
    UPDATE {task} SET dispatch_at = now()
    WHERE id IN (
        SELECT task.id FROM {pause} AS pause CROSS JOIN LATERAL (
            SELECT id FROM {task} AS held
            WHERE held.settled_at IS NULL
              AND held.dispatch_at >= {when_resumed} AND held.dispatch_at <= {when_resumed}
            ORDER BY held.dispatch_at, held.id LIMIT :limit FOR UPDATE SKIP LOCKED) AS task
        WHERE pause.number = :number)
    RETURNING id
    """,
    number=INTEGER,
    limit=INTEGER,
)

_FORGET = template(
    "forget_pause",
    """
    DELETE FROM {pause} AS pause
    WHERE number = :number AND resumed_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM {task} AS held
        WHERE held.settled_at IS NULL
          AND held.dispatch_at >= {when_resumed} AND held.dispatch_at <= {when_resumed})
    RETURNING number
    """,
    number=INTEGER,
)


@dataclass(frozen=True, slots=True)
class StoredPause:
    """A pause that holds.

    Attributes:
        number: Counted up; what it holds back waits for a moment that is made of it.
        target: The queue, the function's name, or the user; of everything, empty.
        until: When it ends by itself; None: when somebody resumes.
    """

    number: int
    kind: Kind
    target: str
    reason: str | None
    paused_by: str
    paused_at: datetime
    until: datetime | None


async def pause(
    db: Statements,
    kind: Kind,
    target: str,
    *,
    reason: str | None,
    paused_by: str,
    until: datetime | None,
) -> None:
    """Pause; one that is paused already gets another reason and another end."""
    statement = _PAUSE(kind=kind, target=target, reason=reason, paused_by=paused_by, until=until)
    for _ in range(2):  # the first may have found one that is over
        if await db.execute_once(statement):
            return


async def resume(db: Statements, kind: Kind, target: str) -> bool:
    """End a pause; False: there is none."""
    return bool(await db.execute_once(_RESUME(kind=kind, target=target)))


async def pauses(db: Statements) -> list[StoredPause]:
    """Those that hold, the oldest first."""
    return [StoredPause(*record) for record in await db.execute_once(_PAUSES())]


async def hold(db: Statements, task_ids: Sequence[UUID]) -> set[UUID]:
    """Hold back those that a pause of their function or user keeps from starting; returns them.

    Args:
        task_ids: Sorted, as every batch locks its rows.
    """
    return {id_ for (id_,) in await db.execute_once(_HOLD(ids=task_ids))}


async def over(db: Statements, limit: int) -> list[int]:
    """The numbers of pauses that hold no more, and have not been forgotten."""
    return [number for (number,) in await db.execute_once(_OVER(limit=limit))]


async def let_go(db: Statements, number: int, limit: int) -> int:
    """Let the relay push so many tasks of those that a pause has held back; returns how many."""
    return len(await db.execute_once(_LET_GO(number=number, limit=limit)))


async def forget(db: Statements, number: int) -> bool:
    """Forget a pause that is over and holds nothing any more; False: it does."""
    return bool(await db.execute_once(_FORGET(number=number)))
