"""What the audit says of an act."""

import json
from collections.abc import Mapping
from uuid import UUID

from uow.acts.actor import Actor
from uow.acts.kinds import Act
from uow.db.audit import AuditNote

LONGEST_REASON = 500
"""Characters of what somebody says why."""


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
        reason=reason[:LONGEST_REASON] if reason else None,
    )


def counts(done: int, left: Mapping[str, int]) -> str:
    """How far an act on several tasks is, as JSON."""
    return json.dumps({"done": done, "left_alone": dict(left)})
