"""The transaction of an attempt; where spans are streamed, the span that stands for one."""

import contextlib
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import sentry_sdk
from sentry_sdk.scope import Scope

from uow.events import AttemptStarted

ORIGIN = "auto.queue.uow"

OP = "queue.process"

Status = Literal["ok", "internal_error", "cancelled", "aborted"]


class Segment(Protocol):
    """What lasts from the beginning of an attempt to its end."""

    def finish(self, status: Status, outcome: str) -> None:
        """It has ended; in any context."""


def begin(event: AttemptStarted) -> Segment | None:
    """Go on with the trace of who has asked; None: nothing is traced."""
    options: Mapping[str, Any] = sentry_sdk.get_client().options
    if _is_streaming(options):
        return _Streamed(event)
    sentry_sdk.get_isolation_scope().set_transaction_name(event.name, source="task")
    if options.get("traces_sample_rate") is None and options.get("traces_sampler") is None:
        # So that errors, at least, are in that trace.
        sentry_sdk.get_isolation_scope().generate_propagation_context(dict(event.headers))
        return None
    return _Transaction(event)


def _is_streaming(options: Mapping[str, Any]) -> bool:
    chosen = options.get("trace_lifecycle")
    if chosen is None:
        chosen = (options.get("_experiments") or {}).get("trace_lifecycle")
    return bool(chosen == "stream")


def _about(event: AttemptStarted) -> dict[str, Any]:
    return {
        "messaging.system": "uow_worker",
        "messaging.destination.name": event.queue,
        "messaging.message.id": event.job_id,
        "messaging.message.retry.count": event.attempt - 1,
        "messaging.message.receive.latency": event.waited * 1000,
    }


class _Transaction:
    def __init__(self, event: AttemptStarted) -> None:
        self._scope = sentry_sdk.get_current_scope()
        self._within = self._scope.span
        _drop_arqs(self._scope)
        begun = sentry_sdk.continue_trace(
            dict(event.headers), op=OP, name=event.name, source="task", origin=ORIGIN
        )
        self._transaction = sentry_sdk.start_transaction(begun)
        for name, value in _about(event).items():
            self._transaction.set_data(name, value)
        self._scope.span = self._transaction

    def finish(self, status: Status, outcome: str) -> None:
        self._transaction.set_tag("task.outcome", outcome)
        self._transaction.set_status(status)
        self._transaction.finish(self._scope)
        self._scope.span = self._within


class _Streamed:
    def __init__(self, event: AttemptStarted) -> None:
        sentry_sdk.traces.continue_trace(dict(event.headers))
        self._span = sentry_sdk.traces.start_span(
            event.name,
            {"sentry.op": OP, "sentry.origin": ORIGIN, "sentry.segment.name.source": "task",
             **_about(event)},
            None,
        )  # fmt: skip

    def finish(self, status: Status, outcome: str) -> None:
        self._span.set_attribute("task.outcome", outcome)
        self._span.status = "error" if status == "internal_error" else "ok"
        self._span.end()


def _drop_arqs(scope: Scope) -> None:
    """Sentry's arq integration makes a transaction of each job of arq's engine: ours says more."""
    with contextlib.suppress(AttributeError):  # there is none, or it is of another kind
        if scope.transaction is not None and scope.transaction.origin == "auto.queue.arq":
            scope.transaction.sampled = False
