"""The parts of the settings that one piece of code needs, as values of their own."""

from dataclasses import dataclass, field
from typing import Literal

LEASE_SECONDS = 4.0
"""A killed worker's tasks start again within this. Heartbeats come five times as often, from a
thread that a blocked event loop does not stop."""

BEATS_PER_LEASE = 5
"""Renewals, and heartbeats, in the time of a lease: one or two may get lost."""

STALL_LIMIT = 60.0
"""Seconds: longer than any call that blocks by accident, shorter than anybody's patience."""

RETENTION_SECONDS = 7 * 86_400.0
"""How long a settled task is kept."""

DEFAULT_SCHEMA = "worker"
"""Where our tables are unless somebody says otherwise."""

Pooler = Literal["transaction", "session"]
"""What a pooling proxy keeps a connection of the server for."""


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """What `Database` needs to know.

    Attributes:
        schema: Where our tables are to be; None: nobody has said.
    """

    url: str = field(repr=False)
    pool_size: int
    schema: str | None
    pooler: bool | Pooler
