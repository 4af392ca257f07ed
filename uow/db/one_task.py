"""The statements that read all there is of one task."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db.audit import AuditRow
from uow.db.models import TaskState
from uow.db.reading import AttemptError
from uow.db.statement import ID, INTEGER, Statements, template

MOST_ERRORS = 100
"""Errors of one task that are read: the newest."""

_COLUMNS = """
           id, name, state, CAST(args AS text), CAST(result AS text), CAST(progress AS text),
           CAST(headers AS text), queue, priority, user_id, unique_key, waiting_key, job_id,
           tick, attempt, tries, deaths, setback, worker, run_at, created_at, started_at,
           settled_at, expires_at, unknown_since"""

_WHOLE = template(
    "whole",
    f"SELECT {_COLUMNS} FROM {{task}} WHERE id = :id",  # noqa: S608 - words of ours alone
    id=ID,
)

_WHOLE_WITH_ACTS = template(
    "whole_with_acts",
    f"""
    SELECT {_COLUMNS},
           (SELECT CAST(json_agg(row_to_json(noted)) AS text)
            FROM (SELECT entry.id, at, who, face, address, what, entry.task_id, bulk_id,
                         CAST(filter AS text) AS filter, CAST(counts AS text) AS counts,
                         CAST(options AS text) AS options, reason, CAST(kept.args AS text) AS args
                  FROM {{audit}} AS entry
                  LEFT JOIN {{audit_arguments}} AS kept ON kept.audit_id = entry.id
                  WHERE entry.task_id = :id ORDER BY entry.id DESC LIMIT :most) AS noted) AS acts
    FROM {{task}} AS task WHERE task.id = :id
    """,  # noqa: S608 - words of ours alone
    id=ID,
    most=INTEGER,
)

_NEWEST_ERRORS = template(
    "newest_errors",
    # In two steps: a plan for the order of the ids could read the errors of every other task.
    """
    SELECT attempt, error_type, message, traceback, worker, started_at, failed_at
    FROM (SELECT * FROM {task_error} WHERE task_id >= :id AND task_id <= :id
          ORDER BY task_id DESC LIMIT 10000) AS of_task
    ORDER BY id DESC LIMIT :most
    """,
    id=ID,
    most=INTEGER,
)


@dataclass(frozen=True, slots=True)
class WholeRow:
    """A row; `args`, `result`, `progress` and `headers` are JSON.

    Attributes:
        unique_key: Of which one unsettled task has one.
        waiting_key: Of which one task that has not started has one.
        job_id: Of a stock client's job.
        tick: Of the schedule that has asked for it.
        setback: What handed its last attempt back, if that was a server's failure.
    """

    id: UUID
    name: str
    state: TaskState
    args: str
    result: str | None
    progress: str | None
    headers: str | None
    queue: str
    priority: int
    user_id: str | None
    unique_key: str | None
    waiting_key: str | None
    job_id: str | None
    tick: datetime | None
    attempt: int
    tries: int
    deaths: int
    setback: str | None
    worker: str | None
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    expires_at: datetime | None
    unknown_since: datetime | None


async def whole(db: Statements, task_id: UUID) -> WholeRow | None:
    """All that its row says; None: it is not there."""
    for id_, name, state, *others in await db.execute_once(_WHOLE(id=task_id)):
        return WholeRow(id_, name, TaskState(state), *others)
    return None


async def whole_with_acts(
    db: Statements, task_id: UUID, most: int
) -> tuple[WholeRow, list[AuditRow]] | None:
    """The same, and the newest acts on it, in one statement."""
    statement = _WHOLE_WITH_ACTS(id=task_id, most=most)
    for id_, name, state, *others, acts in await db.execute_once(statement):
        return WholeRow(id_, name, TaskState(state), *others), _entries(acts)
    return None


def _entries(acts: str | None) -> list[AuditRow]:
    return [
        AuditRow(
            **one
            | {
                "at": datetime.fromisoformat(one["at"]),
                "task_id": UUID(one["task_id"]),
                "bulk_id": None if one["bulk_id"] is None else UUID(one["bulk_id"]),
            }
        )
        for one in json.loads(acts or "[]")
    ]


async def newest_errors(db: Statements, task_id: UUID) -> list[AttemptError]:
    """Its errors, the oldest first; of many the last `MOST_ERRORS`."""
    records = await db.execute_once(_NEWEST_ERRORS(id=task_id, most=MOST_ERRORS))
    return [AttemptError(*record) for record in reversed(records)]
