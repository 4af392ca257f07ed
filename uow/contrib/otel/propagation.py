"""The trace context in a task's headers, as W3C has it: ``traceparent`` and ``tracestate``."""

from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from uow.tasks.headers import fit

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_propagator = TraceContextTextMapPropagator()
_nowhere = Context()


def written(context: Context, others: Mapping[str, str]) -> dict[str, str] | None:
    """Headers that carry `context`; None: there is no trace, or no room beside `others`.

    A task without its trace is enqueued all the same; so is one without the vendors' part of it.
    """
    headers: dict[str, str] = {}
    _propagator.inject(headers, context)
    if headers and not fit(others, headers):
        headers.pop(TRACESTATE, None)
        if not fit(others, headers):
            return None
    if headers and TRACESTATE in others:  # of the task that enqueues, whose trace this is not
        headers.setdefault(TRACESTATE, "")
    return headers or None


def read(headers: Mapping[str, str]) -> SpanContext | None:
    """The span in which a task was asked for; None: there is none, or what there is makes none."""
    if TRACEPARENT not in headers:
        return None
    context = _propagator.extract(headers, _nowhere)
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None
