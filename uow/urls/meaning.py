"""What the words after the question mark of a Postgres address mean to asyncpg."""

from collections.abc import Callable, Mapping
from functools import partial

from uow.urls.parts import number

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full", "no-verify")

OTHERWISE = "leave it out; a setting of the server is written as options=-cname%3Dvalue"

_TARGETS = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslpassword")

_FINER = ("sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version")
"""What asyncpg can only do with a context of its own making."""


def _one_of(known: tuple[str, ...], word: str, value: str) -> str:
    if value not in known:
        raise ValueError(f"has {word}={value}: write one of {', '.join(known)}")
    return value


def _limit(word: str, value: str) -> float | None:
    return number(word, value) or None  # 0: as long as it takes


def _plain(word: str, value: str) -> str:
    _ = word
    return value


def _is_direct(word: str, value: str) -> bool:
    return _one_of(("postgres", "direct"), word, value) == "direct"


def _is_true(word: str, value: str) -> bool:
    return _one_of(("true", "false"), word, value) == "true"


_whole = partial(number, whole=True)

_ARGUMENTS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "command_timeout": ("command_timeout", _limit),
    "connect_timeout": ("timeout", _limit),
    "direct_tls": ("direct_tls", _is_true),
    "gsslib": ("gsslib", _plain),
    "krbsrvname": ("krbsrvname", _plain),
    "max_cacheable_statement_size": ("max_cacheable_statement_size", _whole),
    "max_cached_statement_lifetime": ("max_cached_statement_lifetime", _whole),
    "passfile": ("passfile", _plain),
    "prepared_statement_cache_size": ("prepared_statement_cache_size", _whole),
    "service": ("service", _plain),
    "servicefile": ("servicefile", _plain),
    "sslnegotiation": ("direct_tls", _is_direct),
    "statement_cache_size": ("statement_cache_size", _whole),
    "target_session_attrs": ("target_session_attrs", partial(_one_of, _TARGETS)),
    "timeout": ("timeout", _limit),
}

_SERVER_SETTINGS = ("application_name", "fallback_application_name", "options")

_WITHOUT_EFFECT: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("prefer", "disable"),
    "client_encoding": ("utf8", "utf-8", "UTF8", "UTF-8", "auto"),
    "gssencmode": ("prefer", "disable"),
    "keepalives": (),  # we have limits of our own for a server that is silent
    "keepalives_count": (),
    "keepalives_idle": (),
    "keepalives_interval": (),
    "load_balance_hosts": (),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "supa": (),  # Supabase's mark
    "tcp_user_timeout": (),
    "uselibpqcompat": (),  # of node-postgres: to mean what it means here
}
"""Words with the values (any: none here) that asyncpg needs not be told."""

_INSTEAD = {
    "channel_binding": "asyncpg cannot bind channels; a checked certificate protects as well: "
    "write sslmode=verify-full&sslrootcert=system in its place",
    "connection_limit": "leave it out; WORKER_POOL_SIZE is the number of connections",
    "pgbouncer": "write pgbouncer=true for a proxy that pools transactions, or leave it out",
    "pool_timeout": "leave it out",
    "schema": "leave it out; WORKER_DATABASE_SCHEMA is for our tables, and for yours "
    "options=-csearch_path%3Dname",
    "sslaccept": "write sslmode=verify-full, or sslmode=no-verify for any certificate",
}


class Meaning:
    """What the words that were added mean together.

    Args:
        tls: As in `PostgresUrl`.
    """

    def __init__(self, tls: str | None) -> None:
        self.arguments: dict[str, object] = {}
        self.server_settings: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.is_pooled = False
        self._tls = tls

    def add(self, word: str, value: str) -> bool:
        """Note what `word` means; False: it is unknown.

        Raises:
            ValueError: It cannot be done.
        """
        if word in _ARGUMENTS:
            name, convert = _ARGUMENTS[word]
            self.arguments[name] = convert(word, value)
        elif word in _SERVER_SETTINGS:
            self._say(word, value)
        elif word in (*_FILES, *_FINER):
            self._take_file(word, value)
        elif not self._changes_nothing(word, value):
            return self._refuse(word, value)
        return True

    def _say(self, word: str, value: str) -> None:
        name = word.removeprefix("fallback_")
        if name == word or name not in self.server_settings:
            self.server_settings[name] = value

    def _take_file(self, word: str, value: str) -> None:
        if word in _FINER and self._tls in ("system", "no-verify"):
            raise ValueError(f"has {word}: write the authority's file, too, as sslrootcert=path")
        self.files[word] = value

    def _changes_nothing(self, word: str, value: str) -> bool:
        if word == "pgbouncer" and value in ("true", "false"):
            self.is_pooled = value == "true"
            return True
        if word == "channel_binding" and self._tls in ("verify-full", "system"):
            return True
        return word in _WITHOUT_EFFECT and value in (_WITHOUT_EFFECT[word] or (value,))

    def _refuse(self, word: str, value: str) -> bool:
        if word in _INSTEAD or word in _WITHOUT_EFFECT:
            said = f"has {word}={value}" if word in _WITHOUT_EFFECT else f"has {word}"
            raise ValueError(
                f"{said}: {_INSTEAD.get(word, 'asyncpg cannot do that; leave it out')}"
            )
        return False
