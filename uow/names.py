"""What a task or a queue may be called, and which text may be a key: what Postgres takes.

The table says the same, as far as it can: in a database that is not in UTF-8 its pattern could not
name the ends of lines that Unicode has beside those of ASCII.
"""

import unicodedata

LONGEST_TEXT = 512
"""Characters of a name or a key: in UTF-8 they fit into an index entry of Postgres."""

_CONTROL = ("Cc", "Zl", "Zp")  # ends of lines, too


def is_text(value: str) -> bool:
    """Whether Postgres can store `value`."""
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return "\x00" not in value


def as_text(value: str) -> str:
    """`value` as Postgres can store it: what it cannot is replaced by ``\ufffd`` or ``?``."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def is_storable(value: str) -> bool:
    """Whether Postgres can store `value` and index it."""
    return 0 < len(value) <= LONGEST_TEXT and is_text(value)


def is_name(value: str) -> bool:
    """Whether a task or a queue may be called `value`: it is one line."""
    control = any(unicodedata.category(character) in _CONTROL for character in value)
    return is_storable(value) and not control
