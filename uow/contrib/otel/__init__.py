"""OpenTelemetry: a span for each enqueueing and for each attempt (extra ``otel``).

``instrument()`` is called where the application sets up its tracing, in the API and in a task
module. See ``docs/tracing.md``.
"""

try:
    from uow.contrib.otel.instrumentation import instrument, uninstrument
except ModuleNotFoundError as error:
    raise ImportError(
        f"uow.contrib.otel needs {error.name}: pip install 'uow-worker[otel]'"
    ) from error

__all__ = ["instrument", "uninstrument"]
