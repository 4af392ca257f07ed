"""How an attempt ended, as values; and the three ways to end one on purpose."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uow.db.failures import Cause
    from uow.errors import ParametersDiffer, UnknownTask

Delay = float | timedelta
"""Seconds, or a timedelta."""

LONGEST_DELAY = timedelta(days=3653).total_seconds()
"""Ten years."""


def seconds(delay: Delay) -> float:
    """`delay` in seconds."""
    return delay.total_seconds() if isinstance(delay, timedelta) else float(delay)


def _bounded(what: str, delay: Delay) -> float:
    given = seconds(delay)
    if not 0 <= given <= LONGEST_DELAY:  # nor is NaN
        raise ValueError(f"{what}({delay!r}): the delay is not a time from 0 s to ten years")
    return given


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

    Raises:
        ValueError: The delay is no number, negative, or longer than ten years.
    """

    def __init__(self, delay: Delay | None = None, *, reason: str = "asked to be retried") -> None:
        super().__init__(reason)
        self.delay = None if delay is None else _bounded("Retry", delay)


class Snooze(Signal):
    """Run again later, not counted as a try: the time has not come.

    Args:
        delay: Seconds (or timedelta) until then.

    Raises:
        ValueError: As `Retry`.
    """

    def __init__(self, delay: Delay) -> None:
        self.delay = _bounded("Snooze", delay)
        super().__init__(f"snoozed for {self.delay:g} s")


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
    """User code failed for good.

    Attributes:
        is_written: False: Postgres refuses even to write that, and Redis alone is told.
    """

    error: BaseException
    is_written: bool = True


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The infrastructure failed, the process is shutting down or has not the code; burns no try.

    Attributes:
        error: What failed; None: nothing of this attempt.
        cause: What of the infrastructure has led to it.
        is_stray: It needs other code than this process has; since when is remembered.
        stopped_by: The cancellation that has stopped the attempt, which goes on when that is
            written; None: it was not cancelled.
    """

    delay: float
    reason: str
    error: BaseException | None = None
    cause: "Cause | None" = None
    is_stray: bool = False
    stopped_by: BaseException | None = None

    @property
    def setback(self) -> str | None:
        """The cause's name, if the task may have brought it about; see `hand_back`."""
        return self.cause.name if self.cause is not None and self.cause.may_be_its_own else None


@dataclass(frozen=True, slots=True)
class Stray:
    """The function that it needs is not here, or is of another version; it was not called.

    Attributes:
        fault: What this process lacks.
    """

    fault: "UnknownTask | ParametersDiffer"


Outcome = Completed | Retrying | Snoozed | Cancelled | Failed | HandedBack | Stray
