"""OpenTelemetry: a span for each enqueueing and for each attempt (extra ``otel``).

``instrument()`` is called where the application sets up its tracing, in the API and in a task
module. See ``docs/tracing.md``.
"""

from uow.contrib.otel.instrumentation import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
