"""The trace context in a task's headers, as W3C has it: ``traceparent`` and ``tracestate``."""

import re
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from uow.tasks.headers import fit

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_propagator = TraceContextTextMapPropagator()
_nowhere = Context()

_PLAIN = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""What nearly all look like, read in a third of the time; the propagator has the last word."""

_FLAGS = tuple(map(TraceFlags, range(256)))


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
    traceparent = headers.get(TRACEPARENT)
    if traceparent is None:
        return None
    if not headers.get(TRACESTATE) and (plain := _PLAIN.fullmatch(traceparent)) is not None:
        trace_id, span_id, flags = plain.groups()
        made = SpanContext(int(trace_id, 16), int(span_id, 16), True, _FLAGS[int(flags, 16)])
        return made if made.is_valid else None
    context = _propagator.extract(headers, _nowhere)
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None
