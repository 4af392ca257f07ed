"""Whether somebody has switched tracing off from outside, in OpenTelemetry's own variables."""

import os

NAME = "uow"
"""What our instrumentation is called there."""

_ALL = "OTEL_SDK_DISABLED"
_LIST = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


def is_tracing_off() -> bool:
    """Whether ``OTEL_SDK_DISABLED`` or ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` says so."""
    if os.environ.get(_ALL, "").strip().lower() == "true":
        return True
    return NAME in (name.strip() for name in os.environ.get(_LIST, "").split(","))
