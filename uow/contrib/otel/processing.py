"""The span ``process {queue}``: an attempt, from the call of its function until its end is written.

The first attempt of a task that was asked for a moment ago is a child of who has asked. Every other
one begins a trace of its own, with a link to that: a trace that goes on for days, or through twenty
tries, is one that nobody can read, and few stores keep.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    set_span_in_context,
)

from uow.contrib.otel import names
from uow.contrib.otel.propagation import read
from uow.events import AttemptEnded, AttemptStarted, WorkerStopped
from uow.ids import made_at
from uow.telemetry.description import message_of, trace_of

CHILD_SECONDS = 60.0
"""An attempt that begins within this after the enqueueing belongs to its trace."""

_nowhere = Context()


class RunningSpan(NamedTuple):
    """An attempt that has begun.

    Attributes:
        before: What was current before its span.
        current: What is current in it.
    """

    worker: str
    span: Span
    before: Context
    current: Context


class Processing:
    """Makes the spans of attempts. What it raises, the spine logs once a minute."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._running: dict[tuple[str, int], RunningSpan] = {}

    def started(self, event: AttemptStarted) -> None:
        """Begin a span, and make it the current one of the attempt."""
        parent, links = _parent_of(event)
        span = self._tracer.start_span(
            f"process {event.queue}",
            parent,
            SpanKind.CONSUMER,
            _attributes(event.queue, event.name),
            links,
            _nanoseconds(event.at),
        )
        if span.is_recording():
            span.set_attributes(_about(event))
        before = contexts.get_current()
        current = set_span_in_context(span, before)
        self._running[event.job_id, event.attempt] = RunningSpan(
            event.worker, span, before, current
        )
        contexts.attach(current)

    def ended(self, event: AttemptEnded) -> None:
        """End the span, with what has become of the attempt."""
        running = self._running.pop((event.job_id, event.attempt), None)
        if running is None:
            return
        if contexts.get_current() is running.current:  # else this is told in another's context
            contexts.attach(running.before)
        span = running.span
        if span.is_recording():
            _tell(span, event)
            span.end(_nanoseconds(event.at))

    def stopped(self, event: WorkerStopped) -> None:
        """End what nobody will end: its outcome was never written."""
        for key, running in list(self._running.items()):
            if running.worker == event.worker:
                del self._running[key]
                running.span.end()


def _parent_of(event: AttemptStarted) -> tuple[Context, Sequence[Link]]:
    """In whose trace an attempt is, and what it is linked with."""
    creation = read(event.headers)
    if creation is None:
        return _nowhere, ()
    if _follows_at_once(event):
        return set_span_in_context(NonRecordingSpan(creation), _nowhere), ()
    return _nowhere, (Link(creation),)


def _follows_at_once(event: AttemptStarted) -> bool:
    if event.attempt > 1 or event.schedule is not None:
        return False
    asked = made_at(event.job_id)
    return asked is not None and event.at - asked <= CHILD_SECONDS


@lru_cache(maxsize=1_000)
def _attributes(queue: str, name: str) -> Mapping[str, str]:
    """What all attempts of a function have in common: there when the sampler is asked."""
    return {
        names.SYSTEM: names.OUR_SYSTEM,
        names.OPERATION_NAME: "process",
        names.OPERATION_TYPE: "process",
        names.DESTINATION: queue,
        names.TASK_NAME: name,
    }


def _about(event: AttemptStarted) -> dict[str, str | int]:
    about: dict[str, str | int] = {
        names.MESSAGE_ID: event.job_id,
        names.CLIENT_ID: event.worker,
        names.ATTEMPT: event.attempt,
        names.TRIES: event.tries,
    }
    return about if event.schedule is None else {**about, names.SCHEDULE: event.schedule}


def _tell(span: Span, event: AttemptEnded) -> None:
    span.set_attribute(names.OUTCOME, event.outcome)
    at = _nanoseconds(event.at)
    if event.error is not None and event.outcome != "cancelled":
        _record(span, event.error, at)
    if (what := names.EVENTS.get(event.outcome)) is not None:
        span.add_event(what, {names.DELAY: event.delay or 0.0}, at)


def _record(span: Span, error: BaseException, at: int) -> None:
    """As in the row: without local variables, and without what Postgres shows of other rows."""
    kind, said = names.error_type(error), message_of(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {said}"))
    told = {
        names.EXCEPTION_TYPE: kind,
        names.EXCEPTION_MESSAGE: said,
        names.EXCEPTION_TRACE: trace_of(error),
    }
    span.add_event(names.EXCEPTION, told, at)


def _nanoseconds(at: float) -> int:
    return int(at * 1_000_000_000)
