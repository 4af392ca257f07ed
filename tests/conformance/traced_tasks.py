"""Tasks of a process that traces: in `SPANS` is a line when a span begins, and when it ends."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider

from uow import TaskContext, task
from uow.contrib.otel import instrument

tracer = trace.get_tracer("tests")


class ToFile(SpanProcessor):
    def on_start(self, span: Span, parent_context: Any = None) -> None:
        write("begins", span)

    def on_end(self, span: ReadableSpan) -> None:
        write("ends", span)


def write(what: str, span: ReadableSpan) -> None:
    context = span.get_span_context()
    assert context is not None
    told = {
        "what": what,
        "name": span.name,
        "trace": context.trace_id,
        "span": context.span_id,
        "parent": span.parent.span_id if span.parent else None,
        "links": [link.context.span_id for link in span.links],
        "attributes": dict(span.attributes or {}),
    }
    with Path(os.environ["SPANS"]).open("a") as file:
        file.write(json.dumps(told) + "\n")


if "SPANS" in os.environ:
    provider = TracerProvider()
    provider.add_span_processor(ToFile())
    trace.set_tracer_provider(provider)
    instrument()


@task("traced.dies.once")
async def dies_once(ctx: TaskContext) -> str:
    with tracer.start_as_current_span(f"work of {ctx['task'].attempt}"):
        pass
    if ctx["task"].attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"
