"""What the audit says of an act."""

import json
from collections.abc import Mapping
from uuid import UUID

from uow.acts.actor import Actor
from uow.acts.kinds import Act
from uow.db import audit
from uow.db.audit import AuditNote
from uow.db.statement import Statements
from uow.names import as_text

LONGEST_REASON = 500
"""Characters of what somebody says why."""


def reason_of(said: str | None) -> str | None:
    """Why somebody acts, as it is kept; None: nobody has said it.

    What Postgres cannot store of it is replaced: no act fails because of what is said about it.
    """
    return as_text(said[:LONGEST_REASON]) if said else None


def entry(
    act: Act,
    by: Actor,
    *,
    task_id: UUID | None = None,
    bulk_id: UUID | None = None,
    filter: Mapping[str, object] | None = None,  # noqa: A002 - the word that it has everywhere
    reason: str | None = None,
    done: str | None = None,
) -> AuditNote:
    """An act as it is written down; `done`: how far it is, as `counts` has it."""
    return AuditNote(
        who=by.name,
        face=by.face,
        address=by.address,
        what=act.name,
        task_id=task_id,
        bulk_id=bulk_id,
        filter=None if filter is None else json.dumps(filter),
        counts=done,
        options=json.dumps(dict(act.options)) if act.options else None,
        reason=reason_of(reason),
    )


async def note(transaction: Statements, by: Actor, entry: AuditNote) -> int:
    """Write an act into the audit, in its own transaction, and take its idempotency key.

    Returns:
        The entry's number.

    Raises:
        AlreadyAsked: It was done under this key.
    """
    if by.once is not None:
        await by.once.take(transaction)
    return await audit.note(transaction, entry)


def counts(done: int, left: Mapping[str, int]) -> str:
    """How far an act on several tasks is, as JSON."""
    return json.dumps({"done": done, "left_alone": dict(left)})
