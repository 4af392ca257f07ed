"""Named points on a task's way at which a test can make the process fail.

Off unless the environment variable ``FAILPOINT`` is set when the process starts, as
``point:action`` (``committed:kill``) or ``point:action@n`` for the n-th time the point is passed.
Actions: ``kill`` (SIGKILL to this process), ``raise`` (`FailpointError`), ``stall`` (block the
event loop for ``FAILPOINT_STALL`` seconds, 60 by default, as a hung process would).
"""

import os
import signal
import sys
import time
from collections import Counter

POINTS = {
    "enqueue_written": "the row is inserted, its transaction not committed",
    "enqueue_committed": "the row is committed, the job not pushed",
    "relay_claimed": "the relay has read what is to be pushed",
    "relay_pushed": "the relay has pushed, and not committed that it has",
    "claimed": "a worker has taken the job from the queue",
    "leased": "the attempt holds its lease",
    "started": "the start is written",
    "performed": "the task function has returned",
    "completed": "the completion is written, not committed",
    "committed": "the outcome is committed",
    "settled": "arq does not know the outcome yet",
    "rescued": "the tasks of a dead process are taken back, not committed",
}
"""Every point, in the order of a task's way."""

_armed, _, _rest = os.environ.get("FAILPOINT", "").partition(":")
_action, _, _nth = _rest.partition("@")
_stall_seconds = float(os.environ.get("FAILPOINT_STALL", "60"))
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
    print(f"failpoint {name}: {_action}", file=sys.stderr, flush=True)  # noqa: T201 - no log yet
    match _action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise FailpointError(name)
        case "stall":
            time.sleep(_stall_seconds)
        case _:
            raise ValueError(f"FAILPOINT: unknown action {_action!r}")
