"""The span ``send {queue}``: from before the writing of tasks until they are written.

Its context travels with them. The COMMIT of the caller's transaction is not in it: that is theirs.
"""

import logging
from collections.abc import Mapping, Sequence
from contextvars import Token
from types import MappingProxyType
from uuid import UUID

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from uow.contrib.faults import FaultLog
from uow.contrib.otel import names
from uow.contrib.otel.propagation import written
from uow.errors import WorkerError
from uow.tasks.headers import Enqueuing, Surrounding
from uow.telemetry.description import message_of

logger = logging.getLogger(__name__)

_STATIC: Mapping[str, str] = MappingProxyType({
    names.SYSTEM: names.OUR_SYSTEM,
    names.OPERATION_NAME: "send",
    names.OPERATION_TYPE: "send",
})  # fmt: skip


class Sending:
    """Makes the spans of who enqueues. What fails here is logged once a minute: no task is kept
    from being enqueued."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._faults = FaultLog(logger, "a span of who enqueues has failed: the task goes without")

    def around(self, enqueuing: Enqueuing) -> Surrounding:
        """What `on_enqueue` is given."""
        sent = self._begin(enqueuing)
        if sent is None:
            return
        try:
            ids = yield sent.headers
        except BaseException as error:
            self._end(sent, error=error)
            raise
        self._end(sent, ids)

    def _begin(self, enqueuing: Enqueuing) -> "_Sent | None":
        try:
            return _Sent(self._tracer, enqueuing)
        except Exception as error:  # whatever somebody's SDK raises
            self._faults.tell(error)
            return None

    def _end(
        self, sent: "_Sent", ids: Sequence[UUID] = (), error: BaseException | None = None
    ) -> None:
        try:
            sent.end(ids, error)
        except Exception as fault:
            self._faults.tell(fault)


class _Sent:
    """A span that has begun, and is the current one."""

    __slots__ = ("_count", "_span", "_token", "headers")

    headers: Mapping[str, str] | None

    def __init__(self, tracer: Tracer, enqueuing: Enqueuing) -> None:
        self._count = enqueuing.count
        self._span = tracer.start_span(
            f"send {enqueuing.queue}",
            kind=SpanKind.PRODUCER,
            attributes={
                **_STATIC, names.DESTINATION: enqueuing.queue, names.TASK_NAME: enqueuing.name,
            },
        )  # fmt: skip
        current = set_span_in_context(self._span)
        self.headers = written(current, enqueuing.headers)
        self._token: Token[Context] = contexts.attach(current)

    def end(self, ids: Sequence[UUID], error: BaseException | None) -> None:
        contexts.detach(self._token)
        if self._span.is_recording():
            if self._count != 1:
                self._span.set_attribute(names.BATCH_COUNT, self._count)
            elif ids:
                self._span.set_attribute(names.MESSAGE_ID, str(ids[0]))
            if error is not None:
                _record(self._span, error)
        self._span.end()


def _record(span: Span, error: BaseException) -> None:
    """That it has failed. What a database says is left out: it may show the task's arguments."""
    kind = names.error_type(error)
    said = message_of(error) if isinstance(error, WorkerError) else None
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, said or kind))
    told = {names.EXCEPTION_TYPE: kind}
    span.add_event(
        names.EXCEPTION, told if said is None else {**told, names.EXCEPTION_MESSAGE: said}
    )
