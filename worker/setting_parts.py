"""The parts of the settings that one piece of code needs, as values of their own."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import SecretStr

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


@dataclass(frozen=True, slots=True)
class MailSettings:
    """How mail leaves the house."""

    host: str
    port: int
    sender: str
    tls: Literal["none", "starttls", "tls"]
    username: str | None
    password: SecretStr | None
