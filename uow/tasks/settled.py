"""Tells of tasks that were settled by somebody else than an attempt of theirs."""

import logging
from collections.abc import Sequence
from typing import cast
from uuid import UUID

from uow.db import reading
from uow.db.failures import PASSING
from uow.db.reading import SettledTask
from uow.db.statement import Statements
from uow.events.spine import Spine
from uow.events.tasks import SettledAs, TaskSettled
from uow.tasks.headers import SCHEDULE, decode_headers
from uow.telemetry.description import one_line

logger = logging.getLogger(__name__)


async def tell_settled(
    db: Statements, events: Spine, ids: Sequence[UUID], error: BaseException | None = None
) -> None:
    """Tell that these were settled, if somebody listens: what is told is read for that.

    Optional: a Postgres that goes meanwhile is logged.

    Args:
        error: Why they have not succeeded.
    """
    if not (ids and events.wants(TaskSettled)):
        return
    try:
        found = await reading.read_settled(db, ids)
    except PASSING as failure:
        logger.warning("nobody is told that tasks were settled: %s", one_line(failure))
    else:
        events.emit_all([_event(task, error) for task in found])


def _event(task: SettledTask, error: BaseException | None) -> TaskSettled:
    headers = decode_headers(task.headers)
    return TaskSettled(
        id=task.id,
        job_id=task.job_id,
        name=task.name,
        queue=task.queue,
        user_id=task.user_id,
        headers=headers,
        schedule=headers.get(SCHEDULE) if task.is_of_tick else None,
        state=cast("SettledAs", task.state.value),
        attempt=task.attempt,
        error=error,
    )
