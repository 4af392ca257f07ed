"""Removing settled tasks whose retention has ended.

In small batches, so that no lock is held for long. A row stays while its job may be in Redis: a
stock client's job would be taken for a new one without it. What stays is passed, however much it
is: each batch begins behind the one before.
"""

from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from uow.broker import keys
from uow.db import pruning
from uow.db.statement import InSession, Statements
from uow.tasks.context import TaskContext

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Behind which row a batch begins.

    Attributes:
        expires: When the row's retention has ended, as Postgres writes it.
    """

    expires: str
    after: UUID


START = Bookmark("-infinity", UUID(int=0))


async def prune(ctx: TaskContext) -> int:
    """Remove them all, in the middle of a task function with ``atomic=False``.

    Each batch commits for itself.

    Returns:
        How many tasks it were.
    """
    schema, removed = ctx["settings"].database_schema, 0
    place: Bookmark | None = START
    while place is not None:
        async with ctx["db"].get_session() as session:
            batch, place = await prune_batch(InSession(session, schema), ctx["redis"], place)
        removed += batch
    return removed


async def prune_batch(
    db: Statements, redis: Redis, place: Bookmark = START
) -> tuple[int, Bookmark | None]:
    """Remove a batch.

    Returns:
        How many tasks it were, and where the next batch begins; None: there is none.
    """
    rows = await pruning.expired(db, place.expires, place.after, BATCH)
    if not rows:
        return 0, None
    payloads = await redis.mget([keys.job(row.job_id) for row in rows])
    ids = [row.id for row, payload in zip(rows, payloads, strict=True) if payload is None]
    removed = await pruning.prune(db, ids)
    return removed, Bookmark(rows[-1].expires, rows[-1].id) if len(rows) == BATCH else None
