"""Named points on a task's way at which a test can make the process fail.

Off unless the environment variable ``FAILPOINT`` is set when this module is imported, as
``point:action`` (``committed:kill``) or ``point:action@n`` for the n-th time the point is passed.
Actions: ``kill`` (SIGKILL to this process), ``raise`` (`FailpointError`), ``stall`` (block the
event loop for ``FAILPOINT_STALL`` seconds, 60 by default, as a hung process would).
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

POINTS = {
    "enqueue_written": "the row is inserted, its transaction not committed",
    "enqueue_committed": "the row is committed, the job not pushed",
    "relay_claimed": "the relay has read what is to be pushed",
    "relay_pushed": "the relay has pushed, and not committed that it has",
    "claimed": "a worker has taken the job from the queue",
    "leased": "the attempt holds its lease",
    "started": "the start is written",
    "performed": "the task function has returned",
    "committed": "the outcome is committed",
    "settled": "arq does not know the outcome yet",
    "ticked": "the ticks, their tasks and the schedules' next ticks are written, not committed",
    "rescued": "the tasks of a dead process are taken back, not committed",
}
"""Every point, in the order of a task's way."""


class FailpointError(Exception):
    """Raised by a failpoint whose action is ``raise``."""


@dataclass(slots=True)
class _Armed:
    """What is to happen, where and when; nothing, if `point` is empty."""

    point: str
    action: str | Callable[[], object]
    passes_left: int
    stall_seconds: float


def _read(environment: Mapping[str, str]) -> _Armed:
    point, _, rest = environment.get("FAILPOINT", "").partition(":")
    action, _, nth = rest.partition("@")
    return _Armed(point, action, int(nth or 1), float(environment.get("FAILPOINT_STALL", "60")))


_armed = _read(os.environ)


def arm(environment: Mapping[str, str]) -> None:
    """Arm what this environment asks for and nothing else: for a process that was forked."""
    global _armed
    _armed = _read(environment)


@contextlib.contextmanager
def failing(name: str, fail: Callable[[], object]) -> Iterator[None]:
    """Call `fail` when the block, or what runs meanwhile, comes to the point ``name``; once."""
    global _armed
    before, _armed = _armed, _Armed(name, fail, 1, 0.0)
    try:
        yield
    finally:
        _armed = before


def reach(name: str) -> None:
    """Say that the process has come to the point ``name``; does nothing unless it is armed."""
    if name == _armed.point:
        _fail(_armed)


def _fail(armed: _Armed) -> None:
    armed.passes_left -= 1
    if armed.passes_left != 0:
        return
    if not isinstance(armed.action, str):
        armed.action()
        return
    _say(armed, armed.action)
    match armed.action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise FailpointError(armed.point)
        case "stall":
            time.sleep(armed.stall_seconds)
            _say(armed, "goes on")
        case _:
            raise ValueError(f"FAILPOINT: unknown action {armed.action!r}")


def _say(armed: _Armed, what: str) -> None:
    print(f"failpoint {armed.point}: {what}", file=sys.stderr, flush=True)  # noqa: T201 - no log yet
