"""The statements about what was done by whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from uow.db.statement import ID, INTEGER, MOMENT, REAL, TEXT, Statements, template

_NOTE_ACT = template(
    "note_act",
    """
    INSERT INTO {audit} (who, face, address, what, task_id, bulk_id, filter, counts, options,
                         reason)
    VALUES (:who, :face, :address, :what, :task_id, :bulk_id, CAST(:filter AS jsonb),
            CAST(:counts AS jsonb), CAST(:options AS jsonb), :reason)
    RETURNING id
    """,
)

_COUNT_ACT = template(
    "count_act",
    "UPDATE {audit} SET counts = CAST(:counts AS jsonb) WHERE id = :id",
)

_KEEP_ARGUMENTS = template(
    "keep_arguments",
    """
    INSERT INTO {audit_arguments} (task_id, audit_id, args)
    VALUES (:task_id, :audit_id, CAST(:args AS json))
    """,
    task_id=ID,
)

_READ_AUDIT = template(
    "read_audit",
    # What is looked for may be rare, so the rows that are looked at are bounded.
    """
    WITH looked AS MATERIALIZED (
        SELECT * FROM {audit} WHERE id < :before ORDER BY id DESC LIMIT :window)
    SELECT looked.id, looked.at, who, face, address, what, looked.task_id, bulk_id,
           CAST(filter AS text) AS filter, CAST(counts AS text) AS counts,
           CAST(options AS text) AS options, reason, CAST(kept.args AS text) AS args
    FROM looked LEFT JOIN {audit_arguments} AS kept ON kept.audit_id = looked.id
    WHERE looked.at >= coalesce(:since, '-infinity')
      AND (:who IS NULL OR who = :who) AND (:what IS NULL OR what = :what)
    ORDER BY looked.id DESC LIMIT :limit
    """,
    since=MOMENT,
    who=TEXT,
    what=TEXT,
    limit=INTEGER,
    window=INTEGER,
)

_END_OF_AUDIT = template(
    "end_of_audit",
    """
    SELECT count(*) AS looked, min(id) AS lowest, min(at) AS oldest
    FROM (SELECT id, at FROM {audit} WHERE id < :before ORDER BY id DESC LIMIT :window) AS looked
    """,
    window=INTEGER,
)

_READ_AUDIT_OF_TASK = template(
    "read_audit_of_task",
    """
    SELECT audit.id, audit.at, who, face, address, what, audit.task_id, bulk_id,
           CAST(filter AS text) AS filter, CAST(counts AS text) AS counts,
           CAST(options AS text) AS options, reason, CAST(kept.args AS text) AS args
    FROM {audit} AS audit LEFT JOIN {audit_arguments} AS kept ON kept.audit_id = audit.id
    WHERE audit.task_id = :task_id AND audit.id < :before
    ORDER BY audit.id DESC LIMIT :limit
    """,
    task_id=ID,
    limit=INTEGER,
)

_PRUNE_AUDIT = template(
    "prune_audit",
    """
    DELETE FROM {audit} WHERE id IN (
        SELECT id FROM {audit} WHERE at < now() - make_interval(secs => :retention)
        ORDER BY at LIMIT :limit)
    RETURNING 1
    """,
    retention=REAL,
    limit=INTEGER,
)

LATEST = 2**63 - 1
"""Above the number of every entry."""

WINDOW = 10_000
"""Entries that are looked at for a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditNote:
    """An act that is to be written down.

    Attributes:
        address: The client's; None: it was at the shell.
        filter, counts, options: As JSON.
        reason: What the actor has said why.
    """

    who: str
    face: str
    address: str | None
    what: str
    task_id: UUID | None = None
    bulk_id: UUID | None = None
    filter: str | None = None
    counts: str | None = None
    options: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry that was written; as `AuditNote`, and `args`, as JSON, if some were edited."""

    id: int
    at: datetime
    who: str
    face: str
    address: str | None
    what: str
    task_id: UUID | None
    bulk_id: UUID | None
    filter: str | None
    counts: str | None
    options: str | None
    reason: str | None
    args: str | None


async def note(db: Statements, entry: AuditNote) -> int:
    """Write an act down; returns the entry's number."""
    values: dict[str, Any] = {name: getattr(entry, name) for name in AuditNote.__slots__}
    ((number,),) = await db.execute_once(_NOTE_ACT(**values))
    return int(number)


async def count(db: Statements, number: int, counts: str) -> None:
    """Write how far the act of an entry is, as JSON."""
    await db.execute_once(_COUNT_ACT(id=number, counts=counts))


async def keep_arguments(db: Statements, number: int, task_id: UUID, args: str) -> None:
    """Keep the arguments, as JSON, that a task had before they were edited."""
    await db.execute_once(_KEEP_ARGUMENTS(audit_id=number, task_id=task_id, args=args))


async def read(
    db: Statements,
    *,
    before: int,
    limit: int,
    since: datetime | None = None,
    who: str | None = None,
    what: str | None = None,
) -> Sequence[AuditRow]:
    """A page of the audit, newest first, out of the next `WINDOW` below the number `before`."""
    statement = _READ_AUDIT(
        before=before, limit=limit, since=since, who=who, what=what, window=WINDOW
    )
    return [AuditRow(*record) for record in await db.execute_once(statement)]


async def read_of_task(
    db: Statements, task_id: UUID, *, before: int, limit: int
) -> Sequence[AuditRow]:
    """The same of the acts on one task alone."""
    statement = _READ_AUDIT_OF_TASK(task_id=task_id, before=before, limit=limit)
    return [AuditRow(*record) for record in await db.execute_once(statement)]


async def below(db: Statements, before: int, since: datetime | None) -> int | None:
    """The number below which `read` has not looked yet; None: there is nothing to be found."""
    ((looked, lowest, oldest),) = await db.execute_once(_END_OF_AUDIT(before=before, window=WINDOW))
    if looked < WINDOW or (since is not None and oldest < since):
        return None
    return int(lowest)


async def prune(db: Statements, retention: float, limit: int) -> int:
    """Forget entries that are older than `retention` seconds; returns how many it were."""
    return len(await db.execute_once(_PRUNE_AUDIT(retention=retention, limit=limit)))
