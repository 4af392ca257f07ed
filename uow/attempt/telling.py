"""Tells of attempts: that they have begun, how they have ended, and that their tasks are settled.

Here, and nowhere else, are these events made; and only if somebody listens.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from uow.attempt.runtime import Runtime
from uow.events.spine import Spine
from uow.events.tasks import AttemptEnded, AttemptStarted, EndedAs, SettledAs, TaskSettled
from uow.tasks.context import RunningTask
from uow.tasks.outcome import (
    Cancelled,
    Completed,
    Failed,
    HandedBack,
    Outcome,
    Retrying,
    Snoozed,
    Stray,
)
from uow.telemetry.description import type_of


class Told(Protocol):
    """An attempt, as far as others hear of it."""

    @property
    def runtime(self) -> Runtime:
        """What it needs of its process."""

    @property
    def task(self) -> RunningTask:
        """What it is an attempt of."""

    @property
    def job_id(self) -> str:
        """Of its job."""

    @property
    def waited(self) -> float:
        """Seconds from when its task was due until it began."""

    @property
    def began(self) -> float:
        """When it began here, in seconds since 1970."""


UNWRITTEN = HandedBack(0.0, "what became of it could not be written")
"""Of an attempt whose outcome nobody knows yet: its task runs again, or is found settled."""


class StartedAttempt(NamedTuple):
    """An attempt whose function is about to be called.

    The spine has it and `EndedAttempt`, too, for listeners of ours that hear of every attempt: to
    make an event of one takes longer than what they do. They hear of it before the others.
    """

    attempt: Told


class EndedAttempt(NamedTuple):
    """An attempt, the same that has begun, and what was written of it; None: it had no say any
    more."""

    attempt: Told
    outcome: Outcome | None


def tell_started(attempt: Told) -> None:
    """Its function is about to be called."""
    events = attempt.runtime.events
    if events.wants(StartedAttempt):
        events.emit_all((StartedAttempt(attempt),))
    if events.wants(AttemptStarted):
        events.emit(AttemptStarted(**_about(attempt)))


def tell_ended(events: Spine, those: Iterable[EndedAttempt]) -> None:
    """What has become of attempts that have ended together is written."""
    are_events_wanted = events.wants(AttemptEnded) or events.wants(TaskSettled)
    if not (are_events_wanted or events.wants(EndedAttempt)):
        return
    ended = tuple(those)
    events.emit_all(ended)
    if are_events_wanted:
        _tell_events(events, ended)


def _tell_events(events: Spine, ended: Sequence[EndedAttempt]) -> None:
    now = time.time()
    if events.wants(AttemptEnded):
        events.emit_all([_ended(*one, now) for one in ended])
    if events.wants(TaskSettled):
        events.emit_all([event for event in map(_settled, ended) if event is not None])


def in_fields(outcome: Outcome) -> dict[str, object]:
    """What a line of the log about an outcome is given as ``extra``."""
    error = error_of(outcome)
    return {
        "outcome": ended_as(outcome),
        "delay": delay_of(outcome),
        "error_type": None if error is None else type_of(error),
    }


def _task(attempt: Told) -> dict[str, Any]:
    task = attempt.task
    return {
        "id": task.id, "job_id": attempt.job_id, "name": task.name, "queue": task.queue,
        "user_id": task.user_id, "headers": task.headers, "schedule": task.schedule,
    }  # fmt: skip


def _about(attempt: Told) -> dict[str, Any]:
    return {
        **_task(attempt),
        "worker": attempt.runtime.worker,
        "attempt": attempt.task.attempt,
        "tries": attempt.task.tries,
        "waited": attempt.waited,
    }


def _ended(attempt: Told, outcome: Outcome | None, now: float) -> AttemptEnded:
    return AttemptEnded(
        **_about(attempt),
        outcome=ended_as(outcome),
        error=error_of(outcome),
        delay=delay_of(outcome),
        ran=now - attempt.began,
        at=now,
    )


def _settled(ended: EndedAttempt) -> TaskSettled | None:
    state = _settled_as(ended.outcome)
    if state is None:
        return None
    return TaskSettled(
        **_task(ended.attempt),
        state=state,
        attempt=ended.attempt.task.attempt,
        error=error_of(ended.outcome),
    )


def ended_as(outcome: Outcome | None) -> EndedAs:
    """The outcome in a word."""
    match outcome:
        case None:
            return "overtaken"
        case Completed():
            return "completed"
        case Retrying():
            return "retry"
        case Snoozed():
            return "snoozed"
        case Cancelled():
            return "cancelled"
        case Failed():
            return "failed"
        case HandedBack():
            return "handed back"
        case Stray():
            raise AssertionError("an attempt makes of it that the task waits, or has failed")


def _settled_as(outcome: Outcome | None) -> SettledAs | None:
    match outcome:
        case Completed():
            return "succeeded"
        case Failed():
            return "failed"
        case Cancelled():
            return "cancelled"
        case _:
            return None


def delay_of(outcome: Outcome | None) -> float | None:
    """Seconds until the next attempt is due; None: there will be none."""
    return outcome.delay if isinstance(outcome, Retrying | Snoozed | HandedBack) else None


def error_of(outcome: Outcome | None) -> BaseException | None:
    """What user code has failed by, or cancelled its task by; None: it has done neither."""
    return outcome.error if isinstance(outcome, Retrying | Failed | Cancelled) else None
