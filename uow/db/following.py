"""The statements that read tasks for those who follow them: a line each, the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.backlog import BY_INDEX
from uow.db.database import Database
from uow.db.models import TaskState
from uow.db.statement import ID, IDS, INTEGER, TEXT, Records, Statement, template

AHEAD_SECONDS = 3600.0
"""How far an id may be ahead of this machine's clock; above that are ids of an older kind."""

_NEWEST = template(
    "newest_followed",
    """
    SELECT id, name, state, queue, user_id, created_at, run_at, settled_at, tries, attempt
    FROM {task} WHERE id <= :upto ORDER BY id DESC LIMIT :most
    """,
    upto=ID,
    most=INTEGER,
)

_OF_USER = template(
    "followed_of_user",
    # The user as a range, and in the order: the planner would take the primary key instead.
    """
    SELECT id, name, state, queue, user_id, created_at, run_at, settled_at, tries, attempt
    FROM {task} WHERE user_id >= :user_id AND (user_id, id) <= (:user_id, :upto)
    ORDER BY user_id DESC, id DESC LIMIT :most
    """,
    user_id=TEXT,
    upto=ID,
    most=INTEGER,
)

_BY_IDS = template(
    "followed",
    """
    SELECT id, name, state, queue, user_id, created_at, run_at, settled_at, tries, attempt
    FROM {task} WHERE id = ANY(:ids)
    """,
    ids=IDS,
)


@dataclass(frozen=True, slots=True)
class FollowedTask:
    """A task as it stands, in a line."""

    id: UUID
    name: str
    state: TaskState
    queue: str
    user_id: str | None
    created_at: datetime
    run_at: datetime
    settled_at: datetime | None
    tries: int
    attempt: int


async def newest(db: Database, most: int, now: float) -> list[FollowedTask]:
    """The newest tasks of all.

    Args:
        now: The time, in seconds since 1970.
    """
    return _lines(await _by_index(db, _NEWEST(upto=_upto(now), most=most)))


async def newest_of_user(db: Database, user_id: str, most: int, now: float) -> list[FollowedTask]:
    """The newest tasks of a user."""
    return _lines(await _by_index(db, _OF_USER(user_id=user_id, upto=_upto(now), most=most)))


async def by_ids(db: Database, ids: Sequence[UUID]) -> list[FollowedTask]:
    """The tasks with these ids; those that are not there are left out."""
    return _lines(await _by_index(db, _BY_IDS(ids=ids)))


async def _by_index(db: Database, statement: Statement) -> Records:
    async with db.transaction() as transaction:
        await transaction.execute_once(BY_INDEX())
        return await transaction.execute_once(statement)


def _upto(now: float) -> UUID:
    return UUID(int=int((now + AHEAD_SECONDS) * 1000) << 80)


def _lines(records: Records) -> list[FollowedTask]:
    return [
        FollowedTask(id_, name, TaskState(state), *others) for id_, name, state, *others in records
    ]
