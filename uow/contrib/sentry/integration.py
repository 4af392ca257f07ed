"""The integration, as a user of Sentry knows them."""

from typing import Final
from weakref import WeakKeyDictionary

import sentry_sdk
from sentry_sdk.integrations import Integration
from sentry_sdk.scope import add_global_event_processor

from uow.contrib.sentry.attempts import AttemptScopes
from uow.contrib.sentry.enqueueing import around
from uow.contrib.sentry.monitors import Monitors
from uow.contrib.sentry.redaction import Redaction
from uow.events import AttemptEnded, AttemptStarted, TaskSettled, WorkerStarted, WorkerStopped
from uow.tasks.extensions import on
from uow.tasks.hooks import on_enqueue
from uow.tasks.registry import Registry, default_registry


class UowIntegration(Integration):
    """Reports what tasks fail by, with a scope, tags and a transaction for each attempt.

    It is to be made before a worker of this process starts. Of a task's arguments nothing is sent,
    nor are local variables, unless ``send_default_pii`` is set.

    Args:
        all_failures: Report each failure, those that are tried again as warnings; else the last.
        monitor_schedules: Check in at Sentry's crons at each tick: the schedule's name is the
            monitor's, and its expression its configuration.
        registry: Whose attempts; for tests.
    """

    identifier = "uow"
    origin: Final = "auto.queue.uow"

    def __init__(
        self,
        *,
        all_failures: bool = False,
        monitor_schedules: bool = False,
        registry: Registry | None = None,
    ) -> None:
        self.all_failures = all_failures
        self.monitor_schedules = monitor_schedules
        _listen(registry or default_registry)

    @staticmethod
    def setup_once() -> None:
        """Called by the SDK, once in a process."""
        add_global_event_processor(Redaction(current).edit)
        on_enqueue(around(current))


def current() -> UowIntegration | None:
    """That of the client which is set up now."""
    return sentry_sdk.get_client().get_integration(UowIntegration)


_listening: WeakKeyDictionary[Registry, bool] = WeakKeyDictionary()


def _listen(registry: Registry) -> None:
    """Hear of a registry's attempts, once; they count while there is an integration."""
    if registry in _listening:
        return
    _listening[registry] = True
    attempts, monitors = AttemptScopes(current), Monitors(current)
    on(AttemptStarted, registry=registry)(attempts.started)
    on(AttemptEnded, registry=registry)(attempts.ended)
    on(TaskSettled, registry=registry)(attempts.settled)
    on(WorkerStopped, registry=registry)(attempts.stopped)
    on(WorkerStarted, registry=registry)(monitors.worker_started)
    on(AttemptStarted, registry=registry)(monitors.attempt_started)
    on(TaskSettled, registry=registry)(monitors.task_settled)
