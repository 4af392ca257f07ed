"""The address of a Postgres, as an engine of SQLAlchemy and asyncpg take it."""

import ssl
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import URL

from uow.errors import SettingsError
from uow.urls import certificates, postgres
from uow.urls.postgres import PostgresUrl

PORT = 5432

_DRIVER = "postgresql+asyncpg"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the connections of an engine lead.

    Attributes:
        url: SQLAlchemy's.
        arguments: What asyncpg is told beside it.
        server_settings: What the server is told when a connection begins.
        is_pooled: It says itself that there is a proxy that pools transactions.
    """

    url: URL
    arguments: dict[str, Any]
    server_settings: dict[str, str]
    is_pooled: bool

    @classmethod
    def read(cls, given: str | URL) -> "Address":
        """The address that a provider, or a caller, has given.

        Raises:
            SettingsError: It is none, or says what cannot be done; without a piece of it.
        """
        text = given if isinstance(given, str) else given.render_as_string(hide_password=False)
        try:
            found = postgres.read(text)
            arguments = {**found.arguments, **_tls(found)}
        except ValueError as error:
            raise SettingsError(f"the database URL {error}") from None
        return cls(url_of(found, _DRIVER), arguments, dict(found.server_settings), found.is_pooled)


def url_of(found: PostgresUrl, driver: str) -> URL:
    """Where it leads, as SQLAlchemy has it for `driver`."""
    create = partial(
        URL.create, driver,
        username=found.user, password=found.password, database=found.database,
    )  # fmt: skip
    if len(found.hosts) == 1 and not found.hosts[0][0].startswith("/"):
        host, port = found.hosts[0]
        return create(host=host or None, port=port)
    return create(query=_several(found.hosts))


def _several(hosts: tuple[tuple[str, int | None], ...]) -> dict[str, str]:
    """As SQLAlchemy has it for sockets and for several hosts: a port for each, or none at all."""
    query = {"host": ",".join(host for host, _ in hosts)}
    if len(hosts) > 1 or hosts[0][1] is not None:
        query["port"] = ",".join(str(port or PORT) for _, port in hosts)
    return query


def _tls(found: PostgresUrl) -> dict[str, Any]:
    """How asyncpg is to encrypt, with files that were found to be good."""
    words = dict(found.files)
    ours = found.tls in ("system", "no-verify")  # for which asyncpg has no word
    if ours:
        words.pop("sslrootcert", None)
    if ours or words:
        context = ssl.create_default_context()
        certificates.load(
            context, words, authority="sslrootcert", certificate="sslcert", key="sslkey",
            password="sslpassword",  # noqa: S106 - the word's name
        )  # fmt: skip
        if found.tls == "no-verify":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if ours:
            context.set_alpn_protocols(["postgresql"])  # for sslnegotiation=direct
            return {"ssl": context}
    said = {} if found.tls is None else {"ssl": found.tls}
    return {**said, "dsn": f"postgresql://?{urlencode(words)}"} if words else said
