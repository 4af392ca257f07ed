"""Where somebody's code uses a session, for a message of one line."""

import sys
from types import FrameType

from greenlet import getcurrent

_BETWEEN = ("uow.", "contextlib", "sqlalchemy")
"""Between the place and us."""


def place_of_caller() -> str:
    """File and line of the innermost code that is neither ours nor SQLAlchemy's."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way is slower
    current = getcurrent()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(_BETWEEN):
            who = " (FastAPI's Depends)" if module.startswith("fastapi") else ""
            return f"{frame.f_code.co_filename}:{frame.f_lineno}{who}"
        frame = frame.f_back
        if frame is None and current.parent is not None:  # SQLAlchemy calls in a greenlet
            current = current.parent
            frame = current.gr_frame
    return "unknown place"
