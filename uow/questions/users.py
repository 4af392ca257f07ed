"""Users who have tasks now: those of the newest tasks of all, and not a list of everybody."""

from dataclasses import dataclass
from datetime import timedelta

from uow.clock import utcnow
from uow.db import newest_users
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.newest_users import NEWEST, TasksOfOne
from uow.ids import lowest_at

AHEAD = timedelta(hours=1)
"""How far ahead the clock of whoever has made an id may be."""


@dataclass(frozen=True, slots=True)
class NewestUsers:
    """Whose the newest tasks are.

    Attributes:
        looked_at: How many tasks that are.
        are_all: There are no other tasks.
        users: Whoever has most that is not settled comes first.
        of_nobody: Tasks that are no user's.
    """

    looked_at: int
    are_all: bool
    users: tuple[TasksOfOne, ...]
    of_nobody: int

    def share(self, user_id: str) -> int:
        """How many of them are this user's."""
        return next((one.tasks for one in self.users if one.user_id == user_id), 0)


async def newest_users_of(db: Database, limit: int = NEWEST) -> NewestUsers:
    """Whose the newest tasks are, of `limit`."""
    async with bounded_reading(db) as reading:
        found = await newest_users.read_newest_users(reading, lowest_at(utcnow() + AHEAD), limit)
    users = sorted(
        (one for one in found if one.user_id is not None),
        key=lambda one: (-one.unsettled, -one.tasks, one.user_id or ""),
    )
    looked_at = sum(one.tasks for one in found)
    return NewestUsers(
        looked_at=looked_at,
        are_all=looked_at < limit,
        users=tuple(users),
        of_nobody=sum(one.tasks for one in found if one.user_id is None),
    )
