"""Prune by hand: what the leader removes by itself within half a minute; with an audit row."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from uow.acts.actor import Actor
from uow.acts.noted import counts, note, reason_of
from uow.broker import keys
from uow.broker.redis import RedisClient
from uow.client import TaskClient
from uow.db import audit, pruning
from uow.db.audit import AuditNote
from uow.db.bounded import bounded_reading
from uow.db.pruning import Expired
from uow.db.statement import Statements

BATCH = 1000
"""Tasks per transaction."""

COUNTED = 10 * BATCH
"""Tasks that are counted before anything is removed; that there are more is said as such."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be.

    Attributes:
        tasks: How many it are.
        more: There is more, for another time.
    """

    tasks: int
    more: bool


async def prune_now(client: TaskClient, by: Actor, reason: str | None = None) -> int:
    """Remove every settled task whose retention has ended; returns how many it were.

    Raises:
        RedisError, OSError: Redis is away; what was removed so far stays removed.
    """
    return (await prune_for(client, by, math.inf, reason)).tasks


async def prune_for(
    client: TaskClient, by: Actor, seconds: float, reason: str | None = None
) -> Pruned:
    """The same, but begin no batch after so many seconds.

    As ever, one whose job may be in Redis stays, and so does the last of a schedule. Each batch is
    a transaction, with how far it is in the audit.
    """
    removed, number, began = 0, None, time.monotonic()
    expires, after = "-infinity", UUID(int=0)
    while time.monotonic() - began < seconds:
        async with client.db.transaction() as transaction:
            rows = await pruning.expired(transaction, expires, after, BATCH)
            if not rows:
                return Pruned(removed, more=False)
            gone = await pruning.prune(transaction, await _left_by_redis(client.redis, rows))
            if gone:
                number = await _note(transaction, by, reason, number, removed + gone)
        removed += gone
        expires, after = rows[-1].expires, rows[-1].id
    return Pruned(removed, more=True)


async def prunable(client: TaskClient) -> Pruned:
    """What would be removed, counted up to `COUNTED`; nothing is changed.

    Raises:
        RedisError, OSError: Redis is away.
    """
    found = 0
    expires, after = "-infinity", UUID(int=0)
    for _ in range(COUNTED // BATCH):
        async with bounded_reading(client.db) as reading:
            rows = await pruning.expired(reading, expires, after, BATCH)
        if rows:
            found += len(await _left_by_redis(client.redis, rows))
            expires, after = rows[-1].expires, rows[-1].id
        if len(rows) < BATCH:
            return Pruned(found, more=False)
    return Pruned(found, more=True)


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
        reason=reason_of(reason),
    )  # fmt: skip
    return await note(transaction, by, pruned)
