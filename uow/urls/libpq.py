"""The address of a Postgres, as an engine of SQLAlchemy and a driver of libpq's take it."""

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL

from uow.errors import SettingsError
from uow.urls import postgres
from uow.urls.engine import url_of
from uow.urls.postgres import PostgresUrl

LEAST_SECONDS = 2
"""libpq takes a limit of one second for one of two."""

_ASYNCPGS_OWN = (
    "command_timeout", "statement_cache_size", "prepared_statement_cache_size",
    "max_cacheable_statement_size", "max_cached_statement_lifetime",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LibpqAddress:
    """Where the connections of an engine lead.

    Attributes:
        url: SQLAlchemy's.
        arguments: libpq's words beside it.
        is_pooled: It says itself that there is a proxy that pools transactions.
    """

    url: URL
    arguments: dict[str, Any]
    is_pooled: bool

    @classmethod
    def read(cls, given: str, driver: str) -> "LibpqAddress":
        """The address that a provider has given.

        Args:
            driver: SQLAlchemy's name for it: ``psycopg`` or ``psycopg2``.

        Raises:
            SettingsError: It is none, or says what cannot be done; without a piece of it.
        """
        try:
            found = postgres.read(given)
        except ValueError as error:
            raise SettingsError(f"the database URL {error}") from None
        url = url_of(found, f"postgresql+{driver}")
        return cls(url, {**_arguments(found), **_tls(found)}, found.is_pooled)


def _arguments(found: PostgresUrl) -> dict[str, Any]:
    """asyncpg's arguments in libpq's words; most have the same."""
    said = {k: v for k, v in found.arguments.items() if k not in _ASYNCPGS_OWN}
    seconds, direct = said.pop("timeout", None), said.pop("direct_tls", False)
    if isinstance(seconds, float | int):
        said["connect_timeout"] = max(math.ceil(seconds), LEAST_SECONDS)
    if direct:
        said["sslnegotiation"] = "direct"
    return {**said, **found.server_settings}


def _tls(found: PostgresUrl) -> dict[str, str]:
    words = dict(found.files)
    match found.tls:
        case "system":
            return {**words, "sslmode": "verify-full", "sslrootcert": "system"}
        case "no-verify":
            words.pop("sslrootcert", None)
            return {**words, "sslmode": "require"}
        case None:
            return words
        case mode:
            return {**words, "sslmode": mode}
