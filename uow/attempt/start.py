"""Begins attempts: one guarded write for each, or for a batch of them."""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from uow.attempt.answer import hand_back
from uow.attempt.rescue import take_back
from uow.attempt.runtime import Runtime
from uow.db.failures import refuses
from uow.db.models import TaskState
from uow.errors import ServerUnreachable, StartRefused
from uow.tasks.retry import HAND_BACK_SECONDS
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

PING_SECONDS = 1.0
"""Within this a Postgres answers that only waits for a lock; the job's lease goes on meanwhile."""


async def start(runtime: Runtime, row_id: UUID, *, take_over: bool = False) -> Row[Any] | None:
    """Write that an attempt begins; None: the guard did not hold.

    Raises:
        arq.Retry: Somebody holds the row locked: it waits, and nobody else.
        StartRefused: Postgres does not take it, and will not.
    """
    db, limit = runtime.db, runtime.settings.start_limit
    parameters = {"id": row_id, "worker": runtime.worker, "take_over": take_over}
    try:
        return (await db.execute_once(db.queries.start, parameters, limit=limit)).first()
    except ServerUnreachable:
        await db.execute_once(db.queries.ping, {}, limit=PING_SECONDS)  # raises, if it is away
    except Exception as error:
        if refuses(error):
            raise StartRefused(f"no attempt of it can begin: {one_line(error)}") from error
        raise
    logger.warning("task %s is handed back: Postgres answers, but has not started it within %g s; "
                   "does somebody hold its row locked?", row_id, limit)  # fmt: skip
    raise hand_back(runtime.spread(*HAND_BACK_SECONDS))


async def start_over(runtime: Runtime, row_id: UUID) -> Row[Any] | None:
    """Start a task whose row says that it is running; None: it is not, or may not.

    The attempt that the row speaks of is dead, stalled, or has lost its lease.
    """
    found = await runtime.db.execute_once(
        runtime.db.queries.look_up, {"id": row_id}, limit=runtime.settings.start_limit
    )
    row = found.first()
    if row is None or row.state != TaskState.RUNNING:
        return None
    if row.worker != runtime.worker:
        await take_back(runtime.db, runtime.settings, only=row.worker)
    return await start(runtime, row_id, take_over=True)


async def start_many(runtime: Runtime, row_ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """Write that attempts begin, of those whose guard holds: of none, if one of them is refused.

    None is started that runs already, or whose row somebody holds locked.
    """
    try:
        found = await runtime.db.execute_once(
            runtime.db.queries.start_many,
            {"ids": sorted(row_ids), "worker": runtime.worker},
            limit=runtime.settings.start_limit,  # no lease is kept for longer without a start
        )
    except Exception as error:
        if not refuses(error):
            raise
        logger.warning("%d tasks are started one by one: %s", len(row_ids), one_line(error))
        return {}
    return {row.id: row for row in found}
