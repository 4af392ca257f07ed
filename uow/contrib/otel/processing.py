"""The span ``process {queue}``: an attempt, from the call of its function until its end is written.

The first attempt of a task that was asked for a moment ago is a child of who has asked. Every other
one begins a trace of its own, with a link to that: a trace that goes on for days, or through twenty
tries, is one that nobody can read, and few stores keep.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

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

from uow.attempt.telling import EndedAttempt, StartedAttempt, Told, delay_of, ended_as, error_of
from uow.contrib.otel import names
from uow.contrib.otel.propagation import read
from uow.events import WorkerStopped
from uow.ids import made_at
from uow.tasks.outcome import Outcome
from uow.telemetry.description import message_of, trace_of

CHILD_SECONDS = 60.0
"""An attempt that begins within this after the enqueueing belongs to its trace."""

_nowhere = Context()


RunningSpan = tuple[Span, Context, Context]
"""Of an attempt that has begun; what was current before it, and what is so in it."""


class Processing:
    """Makes the spans of attempts. What it raises, the spine logs once a minute.

    Most spans of most applications are not kept, so nothing is made of an attempt that only a span
    that is recorded needs.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._start_span = tracer.start_span
        self._running: dict[Told, RunningSpan] = {}

    def started(self, those: Sequence[StartedAttempt]) -> None:
        """Begin a span, and make it the current one of the attempt."""
        for (attempt,) in those:
            task = attempt.task
            parent, links = _parent_of(attempt) if task.headers else (_nowhere, ())
            name, common = _of_function(task.queue, task.name)
            span = self._start_span(name, parent, SpanKind.CONSUMER, common, links)
            if span.is_recording():
                span.set_attributes(_about(attempt))
            before = contexts.get_current()
            current = set_span_in_context(span, before)
            self._running[attempt] = span, before, current
            contexts.attach(current)

    def ended(self, those: Sequence[EndedAttempt]) -> None:
        """End the spans, with what has become of the attempts."""
        errors, here = [], contexts.get_current()
        for attempt, outcome in those:
            if (running := self._running.pop(attempt, None)) is None:
                continue
            span, before, current = running
            if here is current:  # else this is told in another's context
                contexts.attach(before)
            if span.is_recording():
                try:
                    _end(span, outcome)
                except Exception as error:  # of somebody's SDK: the others end all the same
                    errors.append(error)
        if errors:
            raise errors[0]

    def stopped(self, event: WorkerStopped) -> None:
        """End what nobody will end: its outcome was never written."""
        for attempt, running in list(self._running.items()):
            if attempt.runtime.worker == event.worker:
                del self._running[attempt]
                running[0].end()


def _parent_of(attempt: Told) -> tuple[Context, Sequence[Link]]:
    """In whose trace an attempt is, and what it is linked with."""
    creation = read(attempt.task.headers)
    if creation is None:
        return _nowhere, ()
    if _follows_at_once(attempt):
        return set_span_in_context(NonRecordingSpan(creation), _nowhere), ()
    return _nowhere, (Link(creation),)


def _follows_at_once(attempt: Told) -> bool:
    task = attempt.task
    if task.attempt > 1 or task.tick is not None:
        return False
    asked = made_at(attempt.job_id)
    return asked is not None and attempt.began - asked <= CHILD_SECONDS


@lru_cache(maxsize=1_000)
def _of_function(queue: str, name: str) -> tuple[str, Mapping[str, str]]:
    """What the spans of all its attempts have in common: there when the sampler is asked."""
    return f"process {queue}", {
        names.SYSTEM: names.OUR_SYSTEM,
        names.OPERATION_NAME: "process",
        names.OPERATION_TYPE: "process",
        names.DESTINATION: queue,
        names.TASK_NAME: name,
    }


def _about(attempt: Told) -> dict[str, str | int]:
    task = attempt.task
    about: dict[str, str | int] = {
        names.MESSAGE_ID: attempt.job_id,
        names.CLIENT_ID: attempt.runtime.worker,
        names.ATTEMPT: task.attempt,
        names.TRIES: task.tries,
    }
    return about if task.schedule is None else {**about, names.SCHEDULE: task.schedule}


def _end(span: Span, outcome: Outcome | None) -> None:
    try:
        _tell(span, outcome)
    finally:
        span.end()


def _tell(span: Span, outcome: Outcome | None) -> None:
    ended, error = ended_as(outcome), error_of(outcome)
    span.set_attribute(names.OUTCOME, ended)
    if error is not None and ended != "cancelled":
        _record(span, error)
    if (what := names.EVENTS.get(ended)) is not None:
        span.add_event(what, {names.DELAY: delay_of(outcome) or 0.0})


def _record(span: Span, error: BaseException) -> None:
    """As in the row: without local variables, and without what Postgres shows of other rows."""
    kind, said = names.error_type(error), message_of(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {said}"))
    told = {
        names.EXCEPTION_TYPE: kind,
        names.EXCEPTION_MESSAGE: said,
        names.EXCEPTION_TRACE: trace_of(error),
    }
    span.add_event(names.EXCEPTION, told)
