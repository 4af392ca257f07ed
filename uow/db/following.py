"""The statements that read tasks for those who follow them: a line each, the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uow.db.backlog import BY_INDEX
from uow.db.database import Database
from uow.db.models import TaskState
from uow.db.statement import ID, IDS, INTEGER, REAL, TEXT, Records, Statement, template

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


_LOOK = template(
    "look_followed",
    """
    SELECT id, name, state, queue, user_id, created_at, run_at, settled_at, tries, attempt,
           created_at > clock_timestamp() - make_interval(secs => :young) AS is_young
    FROM (
        (SELECT * FROM {task} WHERE id <= :upto ORDER BY id DESC LIMIT :most)
        UNION ALL
        (SELECT * FROM {task} WHERE id = ANY(:ids))
    ) AS seen
    """,
    upto=ID,
    most=INTEGER,
    ids=IDS,
    young=REAL,
)

YOUNG_SECONDS = 5.0
"""A task that was asked for since then is young."""


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


async def look(
    db: Database, most: int, ids: Sequence[UUID], now: float
) -> list[tuple[FollowedTask, bool]]:
    """The newest tasks and those with these ids, some of them twice; with each, if it is young."""
    statement = _LOOK(upto=_upto(now), most=most, ids=ids, young=YOUNG_SECONDS)
    records = await _by_index(db, statement)
    return [(_line(record[:-1]), bool(record[-1])) for record in map(tuple, records)]


async def _by_index(db: Database, statement: Statement) -> Records:
    async with db.transaction() as transaction:
        await transaction.execute_once(BY_INDEX())
        return await transaction.execute_once(statement)


def _upto(now: float) -> UUID:
    return UUID(int=int((now + AHEAD_SECONDS) * 1000) << 80)


def _lines(records: Records) -> list[FollowedTask]:
    return [_line(record) for record in records]


def _line(record: Sequence[Any]) -> FollowedTask:
    id_, name, state, *others = record
    return FollowedTask(id_, name, TaskState(state), *others)
