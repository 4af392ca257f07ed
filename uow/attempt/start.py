"""Begins attempts: one guarded write for each, or for a batch of them."""

import logging
from collections.abc import Sequence
from uuid import UUID

from uow.attempt.answer import hand_back
from uow.attempt.rescue import take_back
from uow.attempt.runtime import Runtime
from uow.db import attempts, server
from uow.db.attempts import Started
from uow.db.failures import refuses
from uow.db.models import TaskState
from uow.errors import ServerUnreachable, StartRefused
from uow.tasks.retry import HAND_BACK_SECONDS
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)

PING_SECONDS = 1.0
"""Within this a Postgres answers that only waits for a lock; the job's lease goes on meanwhile."""


async def start(runtime: Runtime, task_id: UUID, *, take_over: bool = False) -> Started | None:
    """Write that an attempt begins; None: the guard did not hold.

    Raises:
        arq.Retry: Somebody holds the row locked: it waits, and nobody else.
        StartRefused: Postgres does not take it, and will not.
    """
    db, limit = runtime.db, runtime.settings.start_limit
    try:
        return await attempts.start(db, task_id, runtime.worker, take_over=take_over, limit=limit)
    except ServerUnreachable:
        await server.ping(db, limit=PING_SECONDS)  # raises, if it is away
    except Exception as error:
        if refuses(error):
            raise StartRefused(f"no attempt of it can begin: {one_line(error)}") from error
        raise
    logger.warning("task %s is handed back: Postgres answers, but has not started it within %g s; "
                   "does somebody hold its row locked?", task_id, limit)  # fmt: skip
    raise hand_back(runtime.spread(*HAND_BACK_SECONDS))


async def start_over(runtime: Runtime, task_id: UUID) -> Started | None:
    """Start a task whose row says that it is running; None: it is not, or may not.

    The attempt that the row speaks of is dead, stalled, or has lost its lease.
    """
    standing = await attempts.look_up(runtime.db, task_id, limit=runtime.settings.start_limit)
    if standing is None or standing.state != TaskState.RUNNING:
        return None
    if standing.worker != runtime.worker:
        await take_back(runtime.db, runtime.settings, only=standing.worker, events=runtime.events)
    return await start(runtime, task_id, take_over=True)


async def start_many(runtime: Runtime, task_ids: Sequence[UUID]) -> dict[UUID, Started]:
    """Write that attempts begin, of those whose guard holds: of none, if one of them is refused.

    None is started that runs already, or whose row somebody holds locked.
    """
    limit = runtime.settings.start_limit  # no lease is kept for longer without a start
    try:
        started = await attempts.start_many(
            runtime.db, sorted(task_ids), runtime.worker, limit=limit
        )
    except Exception as error:
        if not refuses(error):
            raise
        logger.warning("%d tasks are started one by one: %s", len(task_ids), one_line(error))
        return {}
    return {one.id: one for one in started}
