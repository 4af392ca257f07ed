"""Takes an address apart, without guessing where a password ends."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

NOT_A_URL = (
    "is not a URL: check the port, and percent-encode special characters in the user's name and "
    "the password (/ is %2F, ? is %3F, # is %23, @ is %40)"
)

_REST = re.compile(r"(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?")

_HOSTS = re.compile(r"[\w.:,%\[\]-]*")

_PORT = re.compile(r"\d{0,5}", re.ASCII)

_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a URL says.

    Attributes:
        scheme: In lower case.
        user, password: Decoded.
        hosts: As it stands there: one or several, with their ports.
        path: Decoded, with its slash.
        all_words: What stands after the question mark, decoded; one word may stand there twice.
    """

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    hosts: str
    path: str
    all_words: Sequence[tuple[str, str]] = field(repr=False)

    @property
    def words(self) -> dict[str, str]:
        """By their names; of the same ones the last."""
        return dict(self.all_words)


def unwrapped(text: str) -> str:
    """`text` without what a file, a shell or an editor has put around it."""
    text = text.strip().strip("\ufeff").strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].strip()
    return text


def split(text: str, schemes: Sequence[str], example: str) -> Parts:
    """The parts of `text`.

    Args:
        schemes: Those that are known, the usual one first.
        example: A right one, for whoever has written something else.

    Raises:
        ValueError: It has another scheme, or it is not clear where which part ends.
    """
    scheme, there, rest = unwrapped(text).partition("://")
    scheme = scheme.lower()
    if not there or scheme not in schemes:
        known = ", ".join(f"{one}://" for one in schemes)
        raise ValueError(f"must start with one of {known}; write {example}")
    if any(ord(character) < ord(" ") for character in rest):
        raise ValueError("has a line break or a tab in the middle; write it in one line")
    found = _REST.fullmatch(rest)
    path = found["path"] or "" if found else ""
    if found is None or "@" in path:  # where a password holds a character that ends one
        raise ValueError(NOT_A_URL)
    login, there, hosts = found["authority"].rpartition("@")
    if hosts and not there and "@" in (found["query"] or ""):  # or a question mark does
        raise ValueError(NOT_A_URL)
    if not _HOSTS.fullmatch(hosts):
        raise ValueError(NOT_A_URL)
    user, _, password = login.partition(":")
    return Parts(
        scheme, unquote(user) or None, unquote(password) or None, hosts, unquote(path),
        _words(found["query"]),
    )  # fmt: skip


def host_and_port(text: str) -> tuple[str, int | None]:
    """One of `Parts.hosts`, taken apart.

    Raises:
        ValueError: Its port is none.
    """
    bracketed = re.fullmatch(r"\[([^\[\]]+)\](?::(.*))?", text)
    host, port = bracketed.groups() if bracketed else text.partition(":")[::2]
    is_port = _PORT.fullmatch(port or "") and int(port or 1) in range(1, 65_536)
    if not is_port or (not bracketed and set(host) & set("[]")):
        raise ValueError(NOT_A_URL)
    return unquote(host), int(port) if port else None


def number(word: str, value: str, *, whole: bool = False) -> float:
    """The number that is the value of `word`.

    Raises:
        ValueError: It is none, or below 0.
    """
    with suppress(ValueError):
        found = int(value) if whole else float(value)
        if 0 <= found < math.inf:
            return found
    raise ValueError(f"has {word}=…, which must be a {'whole ' if whole else ''}number")


@contextmanager
def discreet(parts: Parts) -> Iterator[None]:
    """Say nothing of the words that are refused where they could be the end of a password.

    Raises:
        ValueError: What is raised in it, or that without any piece.
    """
    try:
        yield
    except ValueError:
        if any("@" in value for _, value in parts.all_words):
            raise ValueError(
                f"has a parameter that is unknown or cannot be followed, or {NOT_A_URL}"
            ) from None
        raise


def unknown(word: str, advice: str) -> ValueError:
    """What to say of a word that means nothing here."""
    return ValueError(f"has the parameter {word}, which is unknown: {advice}")


def _words(query: str | None) -> tuple[tuple[str, str], ...]:
    given = [item for item in (query or "").split("&") if item]
    if not all("=" in item for item in given):
        raise ValueError(NOT_A_URL)
    words = parse_qsl("&".join(given), keep_blank_values=True)
    if not all(_WORD.fullmatch(word) for word, _ in words):
        raise ValueError(NOT_A_URL)
    return tuple(words)
