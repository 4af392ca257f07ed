"""Who acts, and from where."""

from dataclasses import dataclass
from typing import Literal

from uow.acts.once import AskedOnce

Face = Literal["api", "page", "shell"]
"""Where an act was asked for."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who has asked for an act, as the audit says it.

    Attributes:
        name: The token's, or the account at the shell.
        address: The client's; None: it was at the shell.
        once: The request, if it came with an idempotency key.
    """

    name: str
    face: Face
    address: str | None = None
    once: AskedOnce | None = None
