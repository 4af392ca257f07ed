"""What an address of Redis says, in words that redis-py reads as they are meant."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from uow.urls import parts
from uow.urls.parts import Parts

SCHEMES = {
    "redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss",
}  # fmt: skip

EXAMPLE = "redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path?db=0"

_NUMBERS = ("socket_timeout", "socket_connect_timeout")

_WHOLE = ("db", "max_connections", "health_check_interval", "protocol")

_PLAIN = ("username", "password", "client_name", "lib_name", "lib_version", "socket_keepalive",
          "retry_on_timeout")  # fmt: skip

_TLS = ("ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_certs", "ssl_ca_data", "ssl_certfile",
        "ssl_keyfile", "ssl_ciphers")  # fmt: skip

_REQUIREMENTS = ("none", "optional", "required")

_TLS_ELSEWHERE = ("ssl", "tls")
"""What other clients call the second letter s of ``rediss``."""


def canonical(text: str) -> str:
    """The same address as a URL of redis-py's.

    Raises:
        ValueError: It is no address of a Redis, or says what cannot be done.
    """
    found = parts.split(text, list(SCHEMES), EXAMPLE)
    with parts.discreet(found):
        return _meant(found)


def _meant(found: Parts) -> str:
    scheme = SCHEMES[found.scheme]
    place = _socket(found) if scheme == "unix" else _host(found) + _database(found)
    words = _words(found, scheme)
    query = f"?{urlencode(words, quote_via=quote)}" if words else ""
    return f"{scheme}://{_login(found)}{place}{query}"


def _login(found: Parts) -> str:
    user, password = quote(found.user or "", safe=""), quote(found.password or "", safe="")
    if password:
        return f"{user}:{password}@"
    return f"{user}@" if user else ""


def _socket(found: Parts) -> str:
    if found.hosts or not found.path:
        raise ValueError(f"names no path from the root: write {EXAMPLE}")
    return quote(found.path)


def _host(found: Parts) -> str:
    if "," in found.hosts:
        raise ValueError(
            "names several hosts: write the one that takes writes (no Sentinel, no Cluster)"
        )
    parts.host_and_port(found.hosts)
    return found.hosts


def _database(found: Parts) -> str:
    number = found.path.strip("/")
    if number and not number.isdecimal():
        raise ValueError(f"names a database that is no number: write {EXAMPLE}")
    return f"/{number}" if number else ""


def _words(found: Parts, scheme: str) -> dict[str, str]:
    words = {word: value for word, value in found.words.items() if not _is_no_limit(word, value)}
    for word, value in words.items():
        if word in _NUMBERS or word in _WHOLE:
            parts.number(word, value, whole=word in _WHOLE)
        elif scheme != "rediss" and word in (*_TLS, *_TLS_ELSEWHERE):
            raise ValueError(f"has {word}, but no TLS: write rediss:// and leave ssl= or tls= out")
        elif word not in (*_PLAIN, *_TLS):
            raise parts.unknown(word, "leave it out")
    if "ssl_certfile" in words and "ssl_keyfile" not in words:
        raise ValueError("has ssl_certfile without ssl_keyfile: write both")
    return {**words, **_requirement(words)}


def _is_no_limit(word: str, value: str) -> bool:
    """Whether it is a limit of 0, by which others mean none; redis-py would never wait."""
    return word in _NUMBERS and not parts.number(word, value)


def _requirement(words: Mapping[str, str]) -> dict[str, str]:
    """Python's and Celery's names for it in redis-py's."""
    if "ssl_cert_reqs" not in words:
        return {}
    said = words["ssl_cert_reqs"].lower().removeprefix("cert_")
    if said not in _REQUIREMENTS:
        raise ValueError(f"has ssl_cert_reqs={said}: write one of {', '.join(_REQUIREMENTS)}")
    return {"ssl_cert_reqs": said}
