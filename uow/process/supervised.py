"""Whether this process is one of a supervisor's: it has no port of its own, its parent has one."""

import os

_NAME = "UOW_SUPERVISOR"


def child_environment() -> dict[str, str]:
    """The environment of a child of this process: ours, and who we are."""
    return {**os.environ, _NAME: str(os.getpid())}


def is_supervised() -> bool:
    """Whether our parent is a supervisor; what a task starts has another parent."""
    return os.environ.get(_NAME) == str(os.getppid())
