"""What somebody has meant who wrote a name that is not there."""

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The one of `known` that is most like `given`.

    Args:
        likeness: How like it is at least; 1: the same.

    Returns:
        None: Nothing is.
    """
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=likeness)
    return near[0] if near else None
