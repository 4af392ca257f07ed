"""What was done by whom: a list by keyset, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from uow.db import acts, audit
from uow.db.audit import LATEST, AuditRow
from uow.db.database import Database

MOST = 200
"""Entries of a page."""


@dataclass(frozen=True, slots=True)
class AuditEntries:
    """A page of the audit.

    Attributes:
        next: The number below which the next page begins, also if this one is short: then so many
            entries were looked at. None: this was the last.
    """

    rows: Sequence[AuditRow]
    next: int | None


async def audit_page(
    db: Database,
    *,
    task_id: UUID | None = None,
    who: str | None = None,
    what: str | None = None,
    since: datetime | None = None,
    before: int = LATEST,
    limit: int = 50,
) -> AuditEntries:
    """Entries below the number `before`, newest first.

    Args:
        task_id: Acts on this task alone; then nothing else is looked at.
    """
    async with db.transaction() as transaction:
        await acts.go_by_key(transaction)
        if task_id is not None:
            rows = await audit.read_of_task(transaction, task_id, before=before, limit=limit + 1)
        else:
            rows = await audit.read(
                transaction, before=before, limit=limit + 1, since=since, who=who, what=what
            )
        if len(rows) > limit:
            return AuditEntries(rows[:limit], rows[limit - 1].id)
        more = None if task_id is not None else await audit.below(transaction, before, since)
        return AuditEntries(rows, more)
