"""Sends Sentry's trace with each task: its headers ``sentry-trace`` and ``baggage``."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

import sentry_sdk

from uow.contrib.faults import FaultLog
from uow.contrib.sentry.chosen import Current
from uow.contrib.sentry.segment import ORIGIN
from uow.tasks.headers import Enqueuing, Surrounding, fit

logger = logging.getLogger(__name__)

TRACE = "sentry-trace"
BAGGAGE = "baggage"


def around(current: Current) -> Callable[[Enqueuing], Surrounding]:
    """What `on_enqueue` is given."""
    faults = FaultLog(logger, "Sentry's trace of who enqueues has failed: the task goes without")

    def sending(enqueuing: Enqueuing) -> Surrounding:
        with contextlib.ExitStack() as ending:
            headers = None
            try:
                if current() is not None:
                    ending.enter_context(_span_of(enqueuing))
                    headers = _headers_beside(enqueuing.headers)
            except Exception as error:  # whatever the SDK raises
                faults.tell(error)
            yield headers

    return sending


def _span_of(enqueuing: Enqueuing) -> contextlib.AbstractContextManager[object]:
    """A span in the caller's transaction, if there is one."""
    if sentry_sdk.get_current_span() is None:
        return contextlib.nullcontext()
    span = sentry_sdk.start_span(op="queue.publish", name=enqueuing.name, origin=ORIGIN)
    span.set_data("messaging.system", "uow_worker")
    span.set_data("messaging.destination.name", enqueuing.queue)
    return span


def _headers_beside(others: Mapping[str, str]) -> Mapping[str, str] | None:
    """None: there is no trace, or no room for it: a task is enqueued without one all the same."""
    headers = dict(_headers())
    if BAGGAGE in headers and not fit(others, headers):
        del headers[BAGGAGE]
    return headers if headers and fit(others, headers) else None


def _headers() -> Iterator[tuple[str, str]]:
    if trace := sentry_sdk.get_traceparent():
        yield TRACE, trace
        yield BAGGAGE, sentry_sdk.get_baggage() or ""
