"""Who follows tasks, what they see first, and what they are told then.

Nothing here scans: the newest tasks, those of one user, one task, or those whose ids are known.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from uow.db import following
from uow.db.database import Database
from uow.db.following import FollowedTask
from uow.names import is_storable

MOST = 50
"""Tasks in a snapshot: the newest ones."""


@dataclass(frozen=True, slots=True)
class Following:
    """What somebody follows; without either, every task.

    Attributes:
        task: This one alone.
        user: Those of this user.
    """

    task: UUID | None = None
    user: str | None = None


EVERYTHING = Following()


async def snapshot(db: Database, what: Following) -> list[FollowedTask]:
    """What there is now: the newest tasks first, `MOST` of them; of one task it alone, or none.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError, ServerUnreachable: Postgres is away.
    """
    if what.task is not None:
        return await following.by_ids(db, [what.task])
    if what.user is not None and not is_storable(what.user):
        return []  # no user can be called so
    if what.user is not None:
        return await following.newest_of_user(db, what.user, MOST, time.time())
    return await following.newest(db, MOST, time.time())


async def tasks_of(db: Database, ids: Collection[UUID]) -> Sequence[FollowedTask]:
    """The tasks with these ids, as they stand.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError, ServerUnreachable: Postgres is away.
    """
    return await following.by_ids(db, list(ids))


async def look(db: Database, most: int, ids: Collection[UUID]) -> list[tuple[FollowedTask, bool]]:
    """The newest tasks and those with these ids, some of them twice.

    With each, whether it was asked for within the last five seconds.

    Raises:
        asyncpg.PostgresError, asyncpg.InterfaceError, ServerUnreachable: Postgres is away.
    """
    return await following.look(db, most, list(ids), time.time())


def followings_of(task: FollowedTask) -> Iterator[Following]:
    """By which followings somebody would hear of this task."""
    yield EVERYTHING
    yield Following(task=task.id)
    if task.user_id is not None:
        yield Following(user=task.user_id)
