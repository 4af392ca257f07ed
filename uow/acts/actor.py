"""Who acts, and from where."""

from dataclasses import dataclass
from typing import Literal

Face = Literal["api", "page", "shell"]
"""Where an act was asked for."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who has asked for an act, as the audit says it.

    Attributes:
        name: The token's, or the account at the shell.
        address: The client's; None: it was at the shell.
    """

    name: str
    face: Face
    address: str | None = None
