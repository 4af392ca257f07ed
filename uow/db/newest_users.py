"""The statement that tells whose the newest tasks are: there are too many users to list all."""

from dataclasses import dataclass
from uuid import UUID

from uow.db.statement import ID, INTEGER, Statements, template

NEWEST = 2_000
"""Tasks that are looked at, of users and of nobody."""

_NEWEST_USERS = template(
    "newest_users",
    """
    SELECT user_id, count(*) AS tasks,
           count(*) FILTER (WHERE settled_at IS NULL) AS unsettled,
           count(*) FILTER (WHERE state = 'running') AS running,
           count(*) FILTER (WHERE state = 'failed') AS failed
    FROM (SELECT user_id, settled_at, state FROM {task} WHERE id <= :newest
          ORDER BY id DESC LIMIT :limit) AS looked_at
    GROUP BY user_id
    """,
    newest=ID,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class TasksOfOne:
    """How many of the newest tasks are a user's.

    Attributes:
        user_id: None: nobody's.
    """

    user_id: str | None
    tasks: int
    unsettled: int
    running: int
    failed: int


async def read_newest_users(db: Statements, newest: UUID, limit: int = NEWEST) -> list[TasksOfOne]:
    """Whose the newest tasks are.

    Args:
        newest: Only ids up to this one: those of an older kind would all seem to be newer.
    """
    records = await db.execute_once(_NEWEST_USERS(newest=newest, limit=limit))
    return [TasksOfOne(*record) for record in records]
