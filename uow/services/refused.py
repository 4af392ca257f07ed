"""Finds the jobs that Redis refuses for good, so that they hold up nobody else.

A push tells which jobs were refused. Any other call of Redis is all or nothing: one job fails the
whole batch, and the next one with it. So what is refused there is halved until only the offenders
are left. A refused task whose queue no worker serves, or could, is failed with the reason. If a
worker does serve it, somebody has put something else in the queue's place: then its tasks wait, and
are pushed when that is mended.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from redis.exceptions import ResponseError

from uow.attempt.settle import Numbered, fail_without_attempt
from uow.broker.refusals import EntriesRefused, is_refusal
from uow.db import fleet
from uow.db.database import Database
from uow.db.delivery import Pushable
from uow.errors import QueueRefused
from uow.events.spine import Spine
from uow.settings.queues import fault_in_name
from uow.tasks.jobs import fields_of_row

logger = logging.getLogger(__name__)


class Queued(Protocol):
    """What has a job in a queue."""

    @property
    def queue(self) -> str:
        """The queue."""

    @property
    def job_id(self) -> str:
        """The id of the job."""


T = TypeVar("T", bound=Queued)

Refusal = tuple[T, ResponseError]
"""What Redis refuses, and why."""

_WRONG_TYPE = "WRONGTYPE"


async def sifted(
    rows: Sequence[T], work: Callable[[Sequence[T]], Awaitable[int]]
) -> tuple[int, list[Refusal[T]]]:
    """Do `work` for all rows but those that Redis refuses for good.

    Args:
        work: It does no harm when it is done twice for a row.

    Returns:
        The sum of what `work` has returned, and what was refused; in one call if that says which,
        otherwise in twice as many calls as there are rows at most.
    """
    if not rows:
        return 0, []
    try:
        return await work(rows), []
    except EntriesRefused as error:
        why = error.reasons
        return error.done, [
            (row, ResponseError(why[row.job_id])) for row in rows if row.job_id in why
        ]
    except ResponseError as error:
        if not is_refusal(error):
            raise
        if len(rows) == 1:
            return 0, [(rows[0], error)]
    middle = len(rows) // 2
    done, refused = await sifted(rows[:middle], work)
    more_done, more_refused = await sifted(rows[middle:], work)
    return done + more_done, refused + more_refused


async def settle_refused(
    db: Database,
    refused: Sequence[Refusal[Pushable]],
    retention: float,
    events: Spine | None = None,
) -> None:
    """Fail the tasks of refused jobs if nobody serves their queue, and say which wait.

    One that Postgres refuses to fail stays as it is, and holds up nobody else.
    """
    if not refused:
        return
    served = {one.queue for one in await fleet.queues(db)}
    waiting: dict[str, str] = {}
    for row, error in refused:
        reason = _reason(row.queue, error, is_served=row.queue in served)
        if reason is None:
            waiting[row.queue] = str(error)
            continue
        logger.error("%s %s is failed: %s", row.name, row.id, reason, extra=fields_of_row(row))
        number = Numbered(row.id, row.attempt)
        await fail_without_attempt(db, number, reason, retention, events=events)
    for queue, said in waiting.items():
        logger.error("Redis refuses what belongs into queue %r; its tasks wait: %s", queue, said)


def _reason(queue: str, error: ResponseError, *, is_served: bool) -> QueueRefused | None:
    """Why no task of `queue` can ever run; None: one may, when what is in its place is gone."""
    if (fault := fault_in_name(queue)) is not None:
        return QueueRefused(fault)
    if is_served or _WRONG_TYPE not in str(error):
        return None
    return QueueRefused(f"Redis has something else at the key {queue!r}: {error}")
