"""Text of somebody else's for a terminal, which is to show it and not to obey it."""

import unicodedata

_KEPT = "\n\t"
_INVISIBLE = ("Cc", "Cf", "Cs")  # controls, marks of direction, halves of characters


def plain(text: str) -> str:
    """The text with each control character written out."""
    return "".join(one if _is_shown(one) else ascii(one)[1:-1] for one in text)


def _is_shown(character: str) -> bool:
    return character in _KEPT or unicodedata.category(character) not in _INVISIBLE
