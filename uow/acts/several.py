"""One act on several tasks that somebody has picked: each by itself, with its own audit row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from uow.acts.actor import Actor
from uow.acts.left import LeftAlone
from uow.acts.named import ActName
from uow.acts.single import Acts
from uow.broker.redis import AWAY
from uow.db.failures import PASSING

MOST = 200
"""Tasks: more are a bulk act."""


@dataclass(slots=True)
class ActedOn:
    """What an act was done to.

    Attributes:
        left: What was left alone, and why.
        not_reached: What was not tried, or nobody knows of whether it was done: a server went away.
    """

    done: list[UUID] = field(default_factory=list)
    left: list[LeftAlone] = field(default_factory=list)
    not_reached: Sequence[UUID] = ()


async def act_on_each(
    acts: Acts,
    name: ActName,
    ids: Sequence[UUID],
    by: Actor,
    *,
    options: Mapping[str, int] | None = None,
    reason: str | None = None,
) -> ActedOn:
    """Do it to one after the other, of the first `MOST`; what was done stays done.

    Raises:
        InvalidOptions: There is no such act, or its options do not fit; nothing was done.
    """
    found = ActedOn()
    ids = [*dict.fromkeys(ids)][:MOST]
    for place, task_id in enumerate(ids):
        try:
            left = await acts.named(name, task_id, by, reason, options=options)
        except (*PASSING, *AWAY):
            found.not_reached = ids[place:]
            break
        if left is None:
            found.done.append(task_id)
        else:
            found.left.append(left)
    return found
