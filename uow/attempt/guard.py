"""Whether an attempt still has a say: typed, because "no" means two things."""

from enum import Enum
from uuid import UUID

from uow.db.database import Database


class Guard(Enum):
    """What the row says of an attempt."""

    HELD = "held"
    """The task is unsettled, and this is its last attempt: what went wrong is its own doing."""

    SETTLED = "settled"
    """Somebody has settled the task, or it is gone."""

    OVERTAKEN = "overtaken"
    """Another attempt of it has begun."""


async def read_guard(db: Database, task_id: UUID, attempt: int | None) -> Guard:
    """Ask the row, which waits for nobody.

    Args:
        attempt: Its number; None: whichever is the last.
    """
    row = (await db.execute_once(db.queries.look_up, {"id": task_id})).first()
    if row is None or row.settled:
        return Guard.SETTLED
    return Guard.HELD if attempt in (None, row.attempt) else Guard.OVERTAKEN
