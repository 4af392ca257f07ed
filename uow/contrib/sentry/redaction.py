"""What is not sent: arguments, the values of rows, and what was told already."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sentry_sdk
from sentry_sdk.types import Event, Hint

from uow.contrib.faults import FaultLog
from uow.contrib.sentry.chosen import Current
from uow.errors import TaskFailed
from uow.telemetry.description import LEFT_OUT, details_of, without_details

logger = logging.getLogger(__name__)

_TOLD_ELSEWHERE = ("failed for good", "failed without an attempt", "is quarantined")
"""Of lines of our log about what is an event of the spine, too."""

_faults = FaultLog(logger, "an event for Sentry could not be edited, and is not sent")

_OURS = ("uow.", "arq.worker")


class Redaction:
    """Edits every event of the process, of whatever integration it is."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def edit(self, event: Event, hint: Hint) -> Event | None:
        """The event as it may be sent; None: it is not."""
        if self._current() is None:
            return event
        record = hint.get("log_record")
        if isinstance(record, logging.LogRecord):
            if _is_told_elsewhere(record):
                return None
            return without_arguments(event, hint) if record.name.startswith(_OURS) else event
        return None if _is_arqs_report_of_our_failure(hint) else event


def without_arguments(event: Event, hint: Hint) -> Event | None:
    """Without local variables, among which are a task's arguments, and without values of rows.

    All of that is sent with ``send_default_pii``, or, where the SDK has that in its place,
    ``data_collection={"queues": True}``. None: it could not be taken out.
    """
    try:
        may_be_sent = _are_arguments_wanted(sentry_sdk.get_client().options)
        return event if may_be_sent else _edited(event, hint)
    except Exception as error:  # the SDK would send it as it is
        _faults.tell(error)
        return None


def _are_arguments_wanted(options: Mapping[str, Any]) -> bool:
    collected = options.get("data_collection")
    if collected and collected.get("provided_by_user"):
        return bool(collected.get("queues"))
    return bool(options.get("send_default_pii"))


def _edited(event: Event, hint: Hint) -> Event:
    for stack in _stacks(event):
        for frame in stack.get("frames") or ():
            frame.pop("vars", None)
    error = (hint.get("exc_info") or (None, None))[1]
    if isinstance(error, BaseException):
        details = list(details_of(error))
        for value in _values(event, "exception"):
            value["value"] = _without(details, without_details(value.get("value") or "", error))
    return event


def _without(details: Sequence[str], text: str) -> str:
    """`text`, which may be nothing but such a detail: the SDK prefers it to what an error says."""
    for detail in details:
        text = text.replace(detail, LEFT_OUT)
    return text


def _stacks(event: Event) -> Iterator[dict[str, Any]]:
    for kind in ("exception", "threads"):
        for value in _values(event, kind):
            if value.get("stacktrace"):
                yield value["stacktrace"]
    whole: Any = event.get("stacktrace")
    if whole:
        yield whole


def _values(event: Event, kind: str) -> list[dict[str, Any]]:
    found: Any = event.get(kind)
    return (found.get("values") or []) if isinstance(found, dict) else []


def _is_told_elsewhere(record: logging.LogRecord) -> bool:
    if record.name == "arq.worker":  # of arq's own engine; it names the error's class
        return isinstance(record.args, tuple) and TaskFailed.__name__ in record.args
    said = str(record.msg)
    return record.name.startswith("uow.") and any(part in said for part in _TOLD_ELSEWHERE)


def _is_arqs_report_of_our_failure(hint: Hint) -> bool:
    """Whether Sentry's arq integration reports what we tell arq about a task that has failed."""
    return isinstance((hint.get("exc_info") or (None, None))[1], TaskFailed)
