"""How an attempt ended, as values; and the three ways to end one on purpose."""

from dataclasses import dataclass
from datetime import timedelta

Delay = float | timedelta
"""Seconds, or a timedelta."""


def seconds(delay: Delay) -> float:
    """`delay` in seconds."""
    return delay.total_seconds() if isinstance(delay, timedelta) else float(delay)


class Signal(Exception):
    """Base of what a task function raises on purpose. The unit of work is rolled back."""


def traceback_of(error: BaseException) -> BaseException | None:
    """What a log is to show the traceback of: not of a `Signal`, unless an error led to it."""
    if isinstance(error, Signal) and error.__cause__ is None and error.__context__ is None:
        return None
    return error


class Retry(Signal):
    """Try again, counted as a failure: the last of `max_tries` fails the task for good.

    Args:
        delay: Seconds (or timedelta) until then; without one the task's backoff decides.
        reason: What is shown as the attempt's error.
    """

    def __init__(self, delay: Delay | None = None, *, reason: str = "asked to be retried") -> None:
        super().__init__(reason)
        self.delay = None if delay is None else seconds(delay)


class Snooze(Signal):
    """Run again later, not counted as a try: the time has not come.

    Args:
        delay: Seconds (or timedelta) until then.
    """

    def __init__(self, delay: Delay) -> None:
        super().__init__(f"snoozed for {seconds(delay):g} s")
        self.delay = seconds(delay)


class Cancel(Signal):
    """Settle the task as cancelled: there is nothing to do any more.

    Args:
        reason: Why, for whoever looks at the task.
    """

    def __init__(self, reason: str = "cancelled by the task function") -> None:
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Completed:
    """The function returned; `result` is its JSON."""

    result: bytes


@dataclass(frozen=True, slots=True)
class Retrying:
    """User code failed and may try again."""

    delay: float
    error: BaseException


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The function asked to be run later."""

    delay: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The function found that there is nothing to do."""

    error: Cancel


@dataclass(frozen=True, slots=True)
class Failed:
    """User code failed for good."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The infrastructure failed, or the process is shutting down; burns no try."""

    delay: float
    reason: str


Outcome = Completed | Retrying | Snoozed | Cancelled | Failed | HandedBack
