"""Switches tracing on and off."""

import logging
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.trace import Tracer, TracerProvider

from uow.attempt.telling import EndedAttempt, StartedAttempt
from uow.contrib.otel.processing import Processing
from uow.contrib.otel.sending import Sending
from uow.events import WorkerStopped
from uow.settings.tracing import is_tracing_off
from uow.tasks.hooks import forget_hook, on_enqueue
from uow.tasks.registry import Registry, default_registry
from uow.telemetry.release import release

logger = logging.getLogger(__name__)

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions whose names are used."""


def instrument(
    *, tracer_provider: TracerProvider | None = None, registry: Registry | None = None
) -> None:
    """Have a span for each enqueueing of this process, and for each attempt of its worker.

    To be called before a worker of this process starts; where only tasks are enqueued, at any time.
    Called again, it takes the new provider. With ``OTEL_SDK_DISABLED=true`` in the environment, or
    ``uow`` in ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS``, it does nothing at all.

    Args:
        tracer_provider: Whose spans they are; None: the global one's, which may be set later.
        registry: Whose attempts; for tests.
    """
    if is_tracing_off():
        logger.info("tracing is switched off in the environment: no spans, no trace headers")
        return
    uninstrument(registry=registry)
    tracer = trace.get_tracer("uow", release(), tracer_provider, schema_url=SCHEMA)
    _installed[registry or default_registry] = _Installed.on(tracer, registry or default_registry)


def uninstrument(*, registry: Registry | None = None) -> None:
    """Undo `instrument`, if it was called; a worker that runs goes on."""
    installed = _installed.pop(registry or default_registry, None)
    if installed is not None:
        installed.leave(registry or default_registry)


@dataclass(frozen=True, slots=True)
class _Installed:
    """What listens for one registry."""

    sending: Sending
    processing: Processing

    @classmethod
    def on(cls, tracer: Tracer, registry: Registry) -> "_Installed":
        """Listen."""
        one = cls(Sending(tracer), Processing(tracer))
        on_enqueue(one.sending.around)
        events = registry.events
        events.listen_to_batches(one.processing.started, StartedAttempt)
        events.listen_to_batches(one.processing.ended, EndedAttempt)
        events.listen(one.processing.stopped, WorkerStopped)
        return one

    def leave(self, registry: Registry) -> None:
        """Listen no more."""
        forget_hook(self.sending.around)
        for listener in (self.processing.started, self.processing.ended, self.processing.stopped):
            registry.events.forget(listener)


_installed: WeakKeyDictionary[Registry, _Installed] = WeakKeyDictionary()
