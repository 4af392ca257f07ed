"""What a list of tasks asks for, and what it gets: values and parts of the statements that list.

A list is walked in *arms*: stretches of an index, each of which is looked at up to a *window* of
rows. An arm ends with what fits, or at the end of its window, which it tells by a row of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.types import TypeEngine

from uow.db.models import TaskState
from uow.db.statement import INTEGER, MOMENT, TEXT, TEXTS, Records

Direction = Literal["newest", "oldest"]
"""What a list begins with."""

WAYS: Mapping[Direction, str] = {"newest": "DESC", "oldest": "ASC"}

WINDOW = 10_000
"""Rows that are looked at along the ids, and among those that are unsettled."""

WINDOW_OF_KEY = 2_000
"""Rows that are looked at along a user, an ending, an error or a schedule: each is elsewhere."""

COLUMNS = """
    task.id, task.name, task.state, task.queue, task.priority, task.user_id, task.created_at,
    task.run_at, task.started_at, task.settled_at, task.tries, task.attempt, task.worker"""

TOLD = """
    id, name, state, queue, priority, user_id, created_at, run_at, started_at, settled_at, tries,
    attempt, worker, CASE WHEN CAST(:needles AS text[]) IS NOT NULL AND fits
                          THEN CAST(args AS text) END AS args"""

ERRORS = """(
    SELECT error_type, id FROM {task_error} AS failure WHERE failure.task_id = looked.id LIMIT 1000
) AS of_task"""
"""Those of a task that is looked at. With a LIMIT: else a plan could go along the type of the error
instead, for each task anew."""

# The errors and the arguments last: they cost most. The arguments as text, for an escaped NUL
# breaks everything else.
FITS = f"""(
    (CAST(:states AS text[]) IS NULL OR state = ANY(:states))
    AND (CAST(:exact_name AS text) IS NULL OR name = :exact_name)
    AND (CAST(:prefix AS text) IS NULL OR starts_with(CAST(name AS text), :prefix))
    AND (CAST(:queue AS text) IS NULL OR queue = :queue)
    AND (CAST(:user AS text) IS NULL OR user_id = :user)
    AND (CAST(:worker AS text) IS NULL OR worker = :worker)
    AND (CAST(:since AS timestamptz) IS NULL OR created_at >= :since)
    AND (CAST(:until AS timestamptz) IS NULL OR created_at < :until)
    AND (CAST(:settled_since AS timestamptz) IS NULL OR settled_at >= :settled_since)
    AND (CAST(:settled_until AS timestamptz) IS NULL OR settled_at < :settled_until)
    AND (CAST(:error AS text) IS NULL
         OR (SELECT bool_or(error_type = :error) FROM {ERRORS}))
    AND (CAST(:needles AS text[]) IS NULL
         OR (SELECT bool_and(strpos(CAST(looked.args AS text), needle) > 0)
             FROM unnest(:needles) AS needle))
) IS TRUE AS fits"""  # noqa: S608 - words of ours alone

TYPES: Mapping[str, TypeEngine[Any]] = {
    "states": TEXTS, "exact_name": TEXT, "prefix": TEXT, "queue": TEXT, "user": TEXT,
    "worker": TEXT, "since": MOMENT, "until": MOMENT, "settled_since": MOMENT,
    "settled_until": MOMENT, "error": TEXT, "needles": TEXTS, "window": INTEGER, "most": INTEGER,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a row must say; None: anything.

    Attributes:
        states: One of these.
        prefix: What its name begins with.
        since: Created at this moment or later; `until`: before it; of `settled_*` likewise.
        error: The type of an error of any attempt.
        needles: Each is in its arguments' JSON; the arguments are told then. Whoever asks looks at
            them again.
    """

    states: Sequence[str] | None = None
    exact_name: str | None = None
    prefix: str | None = None
    queue: str | None = None
    user: str | None = None
    worker: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    settled_since: datetime | None = None
    settled_until: datetime | None = None
    error: str | None = None
    needles: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """A stretch of an index: between two ids, of one key of it.

    Attributes:
        key: A user or how tasks have ended; of an index of ids alone nothing.
        low, high: Ids between which it is; neither is in it.
    """

    low: UUID
    high: UUID
    key: str = ""


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task in a list.

    Attributes:
        args: As JSON; None: nobody has asked for them.
    """

    id: UUID
    name: str
    state: TaskState
    queue: str
    priority: int
    user_id: str | None
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    tries: int
    attempt: int
    worker: str | None
    args: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A row that was looked at.

    Attributes:
        arm: Of which it is, from 1 on.
        place: Its number in the arm.
        fits: It is one of those that are meant. If not, it only says where the window ended.
        error_id: In a list by errors: of the error that it is there for.
        tick: In a list by a schedule: of which it is.
        task: None: it has been removed since.
    """

    arm: int
    place: int
    fits: bool
    error_id: int | None
    tick: datetime | None
    task: ListedTask | None


def values_of(fit: Fit, window: int, most: int) -> dict[str, object]:
    """The parameters that are in every statement that lists.

    Args:
        window: Rows of each arm that are looked at.
        most: Rows of each arm that are told.
    """
    return {**asdict(fit), "window": window, "most": most}


def seen(records: Records) -> list[Seen]:
    """The rows that a statement has told."""
    return [
        Seen(
            arm, place, fits, error_id, tick,
            None if id_ is None else ListedTask(id_, name, TaskState(state), *others),
        )
        for arm, place, fits, error_id, tick, id_, name, state, *others in records
    ]  # fmt: skip
