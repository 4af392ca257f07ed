"""Spans of a process, as its exporter gets them."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import SpanContext, Tracer

from uow.contrib.otel import instrument, uninstrument
from uow.tasks.registry import Registry


class Traces:
    """A provider, and what its exporter has got."""

    def __init__(self, sampler: Sampler = ALWAYS_ON) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = self.provider.get_tracer("tests")

    def all(self, begins_with: str = "") -> list[ReadableSpan]:
        """The spans that have ended, in the order in which they began."""
        found = [
            span for span in self.exporter.get_finished_spans() if span.name.startswith(begins_with)
        ]
        return sorted(found, key=lambda span: span.start_time or 0)

    def one(self, begins_with: str) -> ReadableSpan:
        (found,) = self.all(begins_with)
        return found


@contextmanager
def traced(registry: Registry, sampler: Sampler = ALWAYS_ON) -> Iterator[Traces]:
    traces = Traces(sampler)
    instrument(tracer_provider=traces.provider, registry=registry)
    try:
        yield traces
    finally:
        uninstrument(registry=registry)
        traces.provider.shutdown()


def trace_of(span: ReadableSpan) -> int:
    return _context(span).trace_id


def id_of(span: ReadableSpan) -> int:
    return _context(span).span_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def links_of(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def said_by(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def _context(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context
