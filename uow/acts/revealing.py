"""Showing what is redacted: it changes nothing, and is written down all the same."""

from uuid import UUID

from uow.acts.actor import Actor
from uow.db import audit
from uow.db.audit import AuditNote
from uow.db.statement import Statements


async def note_reveal(db: Statements, task_id: UUID, by: Actor) -> None:
    """Write down that redacted values of a task are shown, before they are."""
    await audit.note(
        db, AuditNote(who=by.name, face=by.face, address=by.address, what="reveal", task_id=task_id)
    )
