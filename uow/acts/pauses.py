"""Pausing: nothing of a queue, of a task function, of a user, or at all is started any more.

Within a second no process of the fleet starts such a task; what runs goes on to its end, and no try
is burnt. What is enqueued meanwhile waits, too. Pauses are rows: a loss of Redis changes nothing.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from uow.acts.actor import Actor
from uow.acts.noted import note, reason_of
from uow.db import pauses
from uow.db.audit import AuditNote
from uow.db.database import Database
from uow.db.pauses import Kind
from uow.errors import InvalidOptions
from uow.names import is_text
from uow.questions.moments import LATEST


@dataclass(frozen=True, slots=True)
class Pausable:
    """What can be paused.

    Attributes:
        target: The queue, the function's name, or the user; of everything, empty.

    Raises:
        InvalidOptions: There can be no such thing.
    """

    kind: Kind
    target: str = ""

    def __post_init__(self) -> None:
        if bool(self.target) is (self.kind == "everything") or not is_text(self.target):
            raise InvalidOptions(f"no {self.kind} is called {self.target!r:.80}")

    def __str__(self) -> str:
        return f"{self.kind} {self.target}".strip()


async def pause(
    db: Database, what: Pausable, by: Actor, *, reason: str | None, until: datetime | None
) -> None:
    """Pause; what is paused already gets this reason and this end.

    Args:
        until: When it ends by itself; None: when somebody resumes.

    Raises:
        InvalidOptions: `until` is over, or out of range.
    """
    if until is not None and until > LATEST:
        raise InvalidOptions(f"{what} cannot be paused until {until.isoformat()}: out of range")
    if until is not None and until <= datetime.now(UTC):
        raise InvalidOptions(f"{what} cannot be paused until {until.isoformat()}: that is over")
    reason = reason_of(reason)
    async with db.transaction() as transaction:
        await pauses.pause(
            transaction, what.kind, what.target, reason=reason, paused_by=by.name, until=until
        )
        options = {} if until is None else {"until": until.isoformat()}
        await note(transaction, by, _entry("pause", what, by, reason, options))


async def resume(db: Database, what: Pausable, by: Actor, *, reason: str | None) -> bool:
    """Go on; False: it is not paused.

    What waits in a queue is claimed at once. What a pause of a function or a user has held back is
    pushed by the relay, some hundreds at a time.
    """
    async with db.transaction() as transaction:
        if not await pauses.resume(transaction, what.kind, what.target):
            return False
        await note(transaction, by, _entry("resume", what, by, reason, {}))
    return True


def _entry(
    act: str, what: Pausable, by: Actor, reason: str | None, options: dict[str, str]
) -> AuditNote:
    return AuditNote(
        who=by.name,
        face=by.face,
        address=by.address,
        what=act,
        filter=json.dumps({what.kind: what.target}),
        options=json.dumps(options) if options else None,
        reason=reason_of(reason),
    )
