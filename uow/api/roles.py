"""Who calls the API, and what each role includes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a caller of the API may do.

    A viewer enqueues nothing and an enqueuer sees nothing: neither includes the other.
    """

    ENQUEUER = "enqueuer"
    """Enqueue tasks: a service of yours."""

    VIEWER = "viewer"
    """See everything but redacted values."""

    OPERATOR = "operator"
    """See, enqueue, and act on what there is."""

    ADMIN = "admin"
    """Everything, redacted values included."""


_INCLUDED: Final[Mapping[Role, frozenset[Role]]] = {
    Role.ENQUEUER: frozenset({Role.ENQUEUER}),
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.VIEWER, Role.ENQUEUER}),
    Role.ADMIN: frozenset(Role),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: The name of the token, or whose request it is else; acts stand under it in the audit.
        role: What the caller may do.
    """

    name: str
    role: Role

    def may(self, needed: Role) -> bool:
        """Whether the caller's role includes the one that is `needed`."""
        return needed in _INCLUDED[self.role]


THIS_MACHINE: Final = Caller("this machine", Role.ADMIN)
"""Whoever calls an API without tokens, which listens on loopback only."""
