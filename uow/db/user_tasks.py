"""A user's newest tasks, added up: there is no rollup of users."""

from dataclasses import dataclass
from uuid import UUID

from uow.db.statement import ID, INTEGER, TEXT, Statements, template

NEWEST = 2_000

_TASKS_OF_USER = template(
    "tasks_of_user",
    # The range says the same as an equation, of which the planner would conclude that any index in
    # the order of ids does.
    """
    SELECT name, queue, state, count(*) AS tasks,
           count(*) FILTER (WHERE run_at > now()) AS later,
           CAST(date_part('epoch', now() - min(run_at) FILTER (WHERE run_at <= now()))
                AS double precision) AS oldest,
           count(*) FILTER (WHERE settled_at > now() - interval '1 minute') AS in_minute,
           count(*) FILTER (WHERE settled_at > now() - interval '1 hour') AS in_hour,
           count(*) FILTER (WHERE settled_at > now() - interval '1 day') AS in_day,
           array_agg(CAST(date_part('epoch', started_at - run_at) AS double precision)) FILTER (
               WHERE state = 'succeeded') AS waited,
           array_agg(CAST(date_part('epoch', settled_at - started_at) AS double precision)) FILTER (
               WHERE state = 'succeeded') AS ran
    FROM (SELECT name, queue, state, run_at, started_at, settled_at FROM {task}
          WHERE user_id >= :user AND (user_id, id) <= (:user, :newest)
          ORDER BY user_id DESC, id DESC LIMIT :limit) AS looked_at
    GROUP BY name, queue, state
    """,
    user=TEXT,
    newest=ID,
    limit=INTEGER,
)


@dataclass(frozen=True, slots=True)
class TasksOfUser:
    """Tasks of one user, of one function in one queue and one state.

    Attributes:
        later: How many are not due yet.
        oldest: Seconds since the first of them was due.
        in_minute: How many were settled within the last minute.
        in_hour: The same.
        in_day: The same.
        waited: Seconds that each of those that have succeeded waited for its last attempt.
        ran: Seconds that it ran.
    """

    name: str
    queue: str
    state: str
    tasks: int
    later: int
    oldest: float | None
    in_minute: int
    in_hour: int
    in_day: int
    waited: list[float | None] | None
    ran: list[float | None] | None


async def read_tasks_of_user(
    db: Statements, user_id: str, newest: UUID, limit: int = NEWEST
) -> list[TasksOfUser]:
    """The user's newest tasks, by name, queue and state.

    Args:
        newest: Only ids up to this one: those of an older kind would all seem to be newer.
    """
    statement = _TASKS_OF_USER(user=user_id, newest=newest, limit=limit)
    return [TasksOfUser(*record) for record in await db.execute_once(statement)]
