"""Which release of ours this is."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def release() -> str | None:
    """Its version; None: nobody knows, as in a copy of the sources."""
    try:
        return version("uow-worker")
    except PackageNotFoundError:
        return None
