"""What an address of Postgres says: libpq's words, and those of other drivers and of poolers.

asyncpg has libpq's words in a `dsn` alone, SQLAlchemy passes a URL's words on as arguments, and
takes a list of hosts for a host with an odd port. So it is read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from uow.urls import parts
from uow.urls.meaning import MODES, OTHERWISE, Meaning
from uow.urls.parts import Parts

SCHEMES = ("postgresql+asyncpg", "postgresql", "postgres")

EXAMPLE = "postgresql+asyncpg://user:password@host:5432/name"

_LOGIN = ("user", "password", "host", "port", "dbname", "database", "ssl", "sslmode")

_READ_ONLY = ("standby", "prefer-standby", "read-only")


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """Where a Postgres is, and how it wants to be spoken to.

    Attributes:
        hosts: With their ports; several are tried in this order. A path is that of a Unix socket;
            an empty one is asyncpg's to choose.
        tls: libpq's ``sslmode``; or ``no-verify``: encrypted, whoever is at the other end; or
            ``system``: as ``verify-full``, by the system's authorities.
        files: libpq's words for certificates, which asyncpg takes in a `dsn` alone.
        arguments: asyncpg's own, and SQLAlchemy's for it.
        server_settings: Said when a connection begins.
        is_pooled: It leads to a proxy that pools transactions.
    """

    user: str | None
    password: str | None = field(repr=False)
    hosts: tuple[tuple[str, int | None], ...]
    database: str | None
    tls: str | None
    files: Mapping[str, str] = field(repr=False)
    arguments: Mapping[str, object]
    server_settings: Mapping[str, str]
    is_pooled: bool

    @property
    def takes_writes(self) -> bool:
        """Whether it does not ask for a server that takes none."""
        return self.arguments.get("target_session_attrs") not in _READ_ONLY


def read(text: str) -> PostgresUrl:
    """What `text` says.

    Raises:
        ValueError: It is no address of a Postgres, or says what cannot be done.
    """
    found = parts.split(text, SCHEMES, EXAMPLE)
    with parts.discreet(found):
        return _meant(found)


def _meant(found: Parts) -> PostgresUrl:
    said = found.words
    tls, hosts = _tls(said), _hosts(found)
    meaning = Meaning(tls)
    for word, value in said.items():
        if word not in _LOGIN and not meaning.add(word, value):
            raise parts.unknown(word, OTHERWISE)
    if len(hosts) > 1:  # of which one takes writes, unless somebody says that any will do
        meaning.arguments.setdefault("target_session_attrs", "primary")
    return PostgresUrl(
        user=said.get("user", found.user),
        password=said.get("password", found.password),
        hosts=hosts,
        database=said.get("dbname", said.get("database", found.path[1:])) or None,
        tls=tls,
        files=meaning.files,
        arguments=meaning.arguments,
        server_settings=meaning.server_settings,
        is_pooled=meaning.is_pooled,
    )


def _tls(said: Mapping[str, str]) -> str | None:
    word = "sslmode" if "sslmode" in said else "ssl"
    mode = said[word].replace("_", "-") if word in said else None
    if mode is not None and mode not in MODES:
        raise ValueError(
            f"has {word}={mode}: write sslmode=require (encrypted), sslmode=verify-full (and the "
            f"server's certificate is checked), or another of {', '.join(MODES)}"
        )
    if said.get("sslrootcert") != "system":
        return mode
    if mode not in (None, "verify-full"):
        raise ValueError(f"has sslrootcert=system, but {word}={mode}: write sslmode=verify-full")
    return "system"


def _hosts(found: Parts) -> tuple[tuple[str, int | None], ...]:
    """The words `host` and `port`; for what they do not say, what stands before the path."""
    named, said = _joined(found, "host"), _joined(found, "port")
    before = [parts.host_and_port(one) for one in found.hosts.split(",")]
    hosts = [_named(one) for one in named.split(",")] if named else before
    ports = _ports(said) if said else [port for _, port in before]
    if not any(ports):
        ports = [None]
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts) or (len(hosts) > 1 and not all(host for host, _ in hosts)):
        raise ValueError("does not give each host a port: write host1:5432,host2:5432")
    return tuple(
        (host, (other or own) if said else (own or other))
        for (host, own), other in zip(hosts, ports, strict=True)
    )


def _joined(found: Parts, name: str) -> str:
    return ",".join(value for word, value in found.all_words if word == name)


def _named(host: str) -> tuple[str, int | None]:
    return (host, None) if _is_bare(host) else parts.host_and_port(host)


def _ports(said: str) -> list[int | None]:
    return [parts.host_and_port(f":{one}")[1] for one in said.split(",")]


def _is_bare(host: str) -> bool:
    """Whether it is a path, or an address with colons: what has no port behind it."""
    return host.startswith("/") or (host.count(":") > 1 and not host.startswith("["))
