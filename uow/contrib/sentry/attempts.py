"""What attempts tell Sentry: tags, a transaction, and what they have failed by."""

from dataclasses import dataclass
from typing import Any

import sentry_sdk
from sentry_sdk.scope import Scope, use_isolation_scope, use_scope
from sentry_sdk.utils import event_from_exception

from uow.contrib.sentry.chosen import Current
from uow.contrib.sentry.redaction import without_arguments
from uow.contrib.sentry.segment import Segment, Status, begin
from uow.events import AttemptEnded, AttemptStarted, TaskSettled, WorkerStopped
from uow.events.tasks import EndedAs, TaskEvent
from uow.tasks.outcome import traceback_of

FLUSH_SECONDS = 1.0
"""For so long a worker that stops waits until Sentry has what it was told."""

_STATUS: dict[EndedAs, Status] = {
    "completed": "ok",
    "snoozed": "ok",
    "cancelled": "cancelled",
    "failed": "internal_error",
    "retry": "internal_error",
    "handed back": "aborted",
    "overtaken": "aborted",
}


@dataclass(frozen=True, slots=True)
class RunningScope:
    """An attempt that has begun, and its scopes: its end may be told in another's."""

    worker: str
    isolation: Scope
    scope: Scope
    segment: Segment | None


class AttemptScopes:
    """Follows attempts. What it raises, the spine logs once a minute."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._running: dict[tuple[str, int], RunningScope] = {}
        self._reported: set[tuple[str, int]] = set()

    def started(self, event: AttemptStarted) -> None:
        """Tag the attempt's scope, and begin its transaction."""
        if self._current() is None:
            return
        isolation = sentry_sdk.get_isolation_scope()
        _describe(isolation, event, event.attempt)
        isolation.set_context("task", _context_of(event))
        isolation.add_event_processor(without_arguments)
        self._running[event.job_id, event.attempt] = RunningScope(
            event.worker, isolation, sentry_sdk.get_current_scope(), begin(event)
        )

    def ended(self, event: AttemptEnded) -> None:
        """Report what it has failed by, and end its transaction."""
        running = self._running.pop((event.job_id, event.attempt), None)
        if running is None:
            return
        try:
            with use_isolation_scope(running.isolation), use_scope(running.scope):
                self._report(event)
        finally:
            if running.segment is not None:
                running.segment.finish(_STATUS[event.outcome], event.outcome)

    def settled(self, event: TaskSettled) -> None:
        """Report a task that has failed without an attempt of this process."""
        key = (event.job_id, event.attempt)
        if key in self._reported:
            self._reported.discard(key)
        elif event.state == "failed" and self._current() is not None:
            with sentry_sdk.isolation_scope() as scope:
                _describe(scope, event, event.attempt)
                scope.add_event_processor(without_arguments)
                if event.error is not None:
                    _capture(event.error, is_final=True)
                else:
                    sentry_sdk.capture_message(f"{event.name} failed", "error")

    def stopped(self, event: WorkerStopped) -> None:
        """Let go of what will not end any more, and let Sentry have what it was told."""
        for key, running in list(self._running.items()):
            if running.worker == event.worker:
                del self._running[key]
        if self._current() is not None:
            sentry_sdk.flush(timeout=FLUSH_SECONDS)

    def _report(self, event: AttemptEnded) -> None:
        chosen = self._current()
        if chosen is None or event.error is None:
            return
        if event.outcome == "failed":
            self._reported.add((event.job_id, event.attempt))
            _capture(event.error, is_final=True)
        elif event.outcome == "retry" and chosen.all_failures and not is_asked_for(event.error):
            _capture(event.error, is_final=False)


def is_asked_for(error: BaseException) -> bool:
    """Whether the function has raised `Retry` for no other reason than its own."""
    return traceback_of(error) is None


def _describe(scope: Scope, event: TaskEvent, attempt: int) -> None:
    scope.set_tag("task", event.name)
    scope.set_tag("task.attempt", attempt)
    scope.set_tag("task.queue", event.queue)
    scope.set_tag("task.idempotency_key", _idempotency_key_of(event))
    if event.user_id is not None:
        scope.set_user({"id": event.user_id})


def _idempotency_key_of(event: TaskEvent) -> str:
    return event.job_id if event.id is None else str(event.id)


def _context_of(event: AttemptStarted) -> dict[str, Any]:
    return {
        "name": event.name,
        "id": None if event.id is None else str(event.id),
        "job_id": event.job_id,
        "queue": event.queue,
        "attempt": event.attempt,
        "tries": event.tries,
        "worker": event.worker,
        "waited": event.waited,
        "schedule": event.schedule,
    }


def _capture(error: BaseException, *, is_final: bool) -> None:
    event, hint = event_from_exception(
        (type(error), error, error.__traceback__),
        client_options=sentry_sdk.get_client().options,
        mechanism={"type": "uow", "handled": not is_final},
    )
    event["level"] = "error" if is_final else "warning"
    sentry_sdk.capture_event(event, hint=hint)
