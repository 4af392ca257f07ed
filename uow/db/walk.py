"""The statements by which a bulk act walks through the tasks that a filter means.

From the highest id down, so that of several with one key the youngest comes first. Each statement
looks at a bounded number of rows of one index, however many fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.types import TypeEngine

from uow.db.models import TaskState
from uow.db.statement import (
    ID,
    IDS,
    INTEGER,
    MOMENT,
    TEXT,
    TEXTS,
    Statements,
    Template,
    template,
)

_TYPES: dict[str, TypeEngine[Any]] = {
    "upper": ID,
    "window": INTEGER,
    "batch": INTEGER,
    "states": TEXTS,
    **dict.fromkeys(
        ("task_name", "prefix", "queue", "user_id", "error", "worker", "schedule"), TEXT
    ),
    **dict.fromkeys(("at", "since", "until", "settled_since", "settled_until"), MOMENT),
}

_LOOKED = """
    WITH looked AS MATERIALIZED (
        SELECT id, state, name, queue, user_id, worker, tick, headers, created_at, settled_at
        FROM {task}
        WHERE """

_MEANT = """ LIMIT :window),
    meant AS MATERIALIZED (
        SELECT id FROM looked
        WHERE state = ANY(:states) AND created_at <= :at
          AND (settled_at IS NULL OR settled_at <= :at)
          AND (:task_name IS NULL OR name = :task_name)
          AND (:prefix IS NULL OR starts_with(name, :prefix))
          AND (:queue IS NULL OR queue = :queue)
          AND (:user_id IS NULL OR user_id = :user_id)
          AND (:worker IS NULL OR worker = :worker)
          AND created_at >= coalesce(:since, '-infinity')
          AND created_at < coalesce(:until, 'infinity')
          AND (:settled_since IS NULL OR settled_at >= :settled_since)
          AND (:settled_until IS NULL OR settled_at < :settled_until)
          AND (:schedule IS NULL
               OR tick IS NOT NULL AND CAST(headers AS json) ->> 'uow-schedule' = :schedule)
          AND (:error IS NULL OR EXISTS (
                  SELECT FROM {task_error} AS error
                  WHERE error.task_id = looked.id AND error_type = :error))
        ORDER BY id DESC LIMIT :batch)
    SELECT ARRAY(SELECT id FROM meant ORDER BY id DESC) AS ids,
           (SELECT count(*) FROM looked) AS looked,
           (SELECT id FROM looked ORDER BY id LIMIT 1) AS last,
           (SELECT count(*) FROM looked
            WHERE id >= (SELECT id FROM meant ORDER BY id LIMIT 1)) AS used
"""

_WALK_ALL = template(
    "walk_all",
    f"{_LOOKED} id <= :upper ORDER BY id DESC {_MEANT}",
    **_TYPES,
)

# The leading column is said as a range: else the planner takes the primary key for the order. And
# with the id as one of rows: else each window would begin at the first, and pass all before it.
_WALK_ENDED = template(
    "walk_ended",
    f"""{_LOOKED} ended >= :ended AND (ended, id) <= (:ended, :upper)
        ORDER BY ended DESC, id DESC {_MEANT}""",
    ended=TEXT,
    **_TYPES,
)

_WALK_USER = template(
    "walk_user",
    f"""{_LOOKED} task.user_id >= :user_id AND (task.user_id, id) <= (:user_id, :upper)
        ORDER BY task.user_id DESC, id DESC {_MEANT}""",
    **_TYPES,
)

_HIGHEST = template(
    "highest",
    "SELECT now() AS now, (SELECT id FROM {task} ORDER BY id DESC LIMIT 1) AS id",
)

_SAMPLES = template(
    "samples",
    """
    SELECT id, name, state, queue, user_id FROM {task} WHERE id = ANY(:ids) ORDER BY id DESC
    """,
    ids=IDS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """Which tasks are meant, as values of a statement.

    Attributes:
        at: What was asked for, or settled, later is not meant.
        prefix: What their names begin with.
        error: The type of an error of any attempt.
    """

    states: Sequence[TaskState]
    at: datetime
    task_name: str | None = None
    prefix: str | None = None
    queue: str | None = None
    user_id: str | None = None
    worker: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    settled_since: datetime | None = None
    settled_until: datetime | None = None
    error: str | None = None
    schedule: str | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of the walk: one range of one index."""

    statement: Template
    ended: TaskState | None = None


@dataclass(frozen=True, slots=True)
class FoundTasks:
    """What a window had.

    Attributes:
        ids: Those that are meant, as many as were wanted at most.
        looked: How many rows that took.
        lowest: The id down to which everything was looked at; None: there was nothing.
        is_last: There is nothing below it.
    """

    ids: Sequence[UUID]
    looked: int
    lowest: UUID | None
    is_last: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A task as a preview shows it."""

    id: UUID
    name: str
    state: TaskState
    queue: str
    user_id: str | None


def legs_of(meant: Meant) -> list[Leg]:
    """The ranges in which they all are, one after the other."""
    if meant.user_id is not None:
        return [Leg(_WALK_USER)]
    if {*meant.states} <= {TaskState.FAILED, TaskState.CANCELLED}:
        return [Leg(_WALK_ENDED, state) for state in meant.states]
    return [Leg(_WALK_ALL)]


async def find(
    db: Statements, leg: Leg, meant: Meant, upper: UUID, *, window: int, batch: int
) -> FoundTasks:
    """Those that are meant among the next rows of a leg, from the id `upper` down.

    Args:
        window: Rows that are looked at, at most.
        batch: How many are wanted, at most.
    """
    values = {name: getattr(meant, name) for name in Meant.__slots__}
    values |= {"upper": upper, "window": window, "batch": batch}
    if leg.ended is not None:
        values["ended"] = leg.ended
    ((ids, looked, last, used),) = await db.execute_once(leg.statement(**values))
    if len(ids) == batch:
        return FoundTasks(ids, used, ids[-1], False)
    return FoundTasks(ids, looked, last, looked < window)


def below(found: FoundTasks) -> UUID | None:
    """The highest id that is still to be looked at in a leg; None: there is none."""
    if found.is_last or found.lowest is None or not found.lowest.int:
        return None
    return UUID(int=found.lowest.int - 1)


async def highest(db: Statements) -> tuple[datetime, UUID | None]:
    """The time, and the highest id that there is; None: there are no tasks."""
    ((now, id_),) = await db.execute_once(_HIGHEST())
    return now, id_


async def samples(db: Statements, ids: Sequence[UUID]) -> list[Sample]:
    """What some tasks are like; not those that are gone."""
    return [
        Sample(id_, name, TaskState(state), queue, user_id)
        for id_, name, state, queue, user_id in await db.execute_once(_SAMPLES(ids=ids))
    ]
