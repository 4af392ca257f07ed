"""Prune by hand: what the leader removes by itself within half a minute; with an audit row."""

from collections.abc import Sequence
from uuid import UUID

from uow.acts.actor import Actor
from uow.acts.noted import LONGEST_REASON, counts, note
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.client import TaskClient
from uow.db import audit, pruning
from uow.db.audit import AuditNote
from uow.db.pruning import Expired
from uow.db.statement import Statements

BATCH = 1000
"""Tasks per transaction."""


async def prune_now(client: TaskClient, by: Actor, reason: str | None = None) -> int:
    """Remove every settled task whose retention has ended; returns how many it were.

    As ever, one whose job may be in Redis stays, and so does the last of a schedule. Each batch is
    a transaction, with how far it is in the audit.

    Raises:
        RedisError, OSError: Redis is away; what was removed so far stays removed.
    """
    removed, number = 0, None
    expires, after = "-infinity", UUID(int=0)
    while True:
        async with client.db.transaction() as transaction:
            rows = await pruning.expired(transaction, expires, after, BATCH)
            if not rows:
                return removed
            gone = await pruning.prune(transaction, await _left_by_redis(client.redis, rows))
            if gone:
                number = await _note(transaction, by, reason, number, removed + gone)
        removed += gone
        expires, after = rows[-1].expires, rows[-1].id


async def _left_by_redis(redis: RedisClient, rows: Sequence[Expired]) -> list[UUID]:
    payloads = await redis.mget([keys.job(row.job_id) for row in rows])
    return [row.id for row, payload in zip(rows, payloads, strict=True) if payload is None]


async def _note(
    transaction: Statements, by: Actor, reason: str | None, number: int | None, removed: int
) -> int:
    if number is not None:
        await audit.count(transaction, number, counts(removed, {}))
        return number
    pruned = AuditNote(
        who=by.name, face=by.face, address=by.address, what="prune", counts=counts(removed, {}),
        reason=reason[:LONGEST_REASON] if reason else None,
    )  # fmt: skip
    return await note(transaction, by, pruned)
