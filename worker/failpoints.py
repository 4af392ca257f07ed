"""Named points on a task's way at which a test can make the process fail.

Off unless the environment variable ``FAILPOINT`` is set when the process starts, as
``name:action`` (``after_commit:kill``) or ``name:action@n`` for the n-th time the point is passed.
Actions: ``kill`` (SIGKILL to this process), ``raise`` (`FailpointError`), ``stall`` (block the
event loop for 60 s, as a hung process would).
"""

import os
import signal
import time
from collections import Counter

STALL_SECONDS = 60

_armed, _, _rest = os.environ.get("FAILPOINT", "").partition(":")
_action, _, _nth = _rest.partition("@")
_passed: Counter[str] = Counter()


class FailpointError(Exception):
    """Raised by a failpoint whose action is ``raise``."""


def reach(name: str) -> None:
    """Say that the process has come to the point ``name``; does nothing unless it is armed."""
    if name == _armed:
        _fail(name)


def _fail(name: str) -> None:
    _passed[name] += 1
    if _passed[name] != int(_nth or 1):
        return
    match _action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise FailpointError(name)
        case "stall":
            time.sleep(STALL_SECONDS)
        case _:
            raise ValueError(f"FAILPOINT: unknown action {_action!r}")
