"""The log as JSON: each record is one object on one line, of the same names everywhere.

`time` (RFC 3339, UTC), `level`, `logger` and `message` are in every line; the fields of its task
(`uow.telemetry.subject.FIELDS`) in those about one; `exception` and `stack` where there is one;
then what a line was given as ``extra``. Durations are in seconds. What is not there is left out.
"""

import json
import logging
from datetime import UTC, datetime

from uow.telemetry.description import MESSAGE_BYTES, shown, trace_of
from uow.telemetry.subject import FIELDS
from uow.telemetry.task_fields import fields_of_record

_OF_EVERY_RECORD = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", *FIELDS}
)
"""What logging itself keeps in a record, in any version of Python, and what stands first here."""

_FIRST = frozenset({"time", "level", "logger", "message", "exception", "stack"})


class JsonLines(logging.Formatter):
    """Formats a record of any logger as one line of JSON.

    It never raises: what is no JSON is told as its text, cut to 8 KiB.
    """

    def __init__(self) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`."""
        line: dict[str, object] = {
            "time": _moment(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        line.update(_about(record))
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = trace_of(record.exc_info[1]).rstrip("\n")
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        line.update(_extra(record))
        return _encode(line)


_encode = json.JSONEncoder(default=shown).encode


_BOUND = 1 << 53
"""What JSON's readers take for the same number, and no infinity."""


def _moment(seconds: float) -> str:
    written = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return written.replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # what cannot be formatted is still told
        return shown(record.msg)


def _about(record: logging.LogRecord) -> dict[str, object]:
    """The fields of the task that it is about."""
    fields = fields_of_record(record).items()
    return {name: _plain(value) for name, value in fields if value is not None}


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """What it was given beside that."""
    return {
        (f"{name}_" if name in _FIRST else name): _plain(value)
        for name, value in vars(record).items()
        if name not in _OF_EVERY_RECORD and value is not None
    }


def _plain(value: object) -> object:
    """A value as JSON has it; what is none, or long, as text."""
    if _is_plain(value):
        return value
    if not isinstance(value, str):
        try:
            if len(json.dumps(value, default=shown, allow_nan=False)) <= MESSAGE_BYTES:
                return value
        except Exception:  # in a circle, too deep, a key that is none, an infinity
            return shown(value)
    return shown(value)


def _is_plain(value: object) -> bool:
    """Whether that is seen at once, as of nearly all that a line is given."""
    if type(value) is str:
        return len(value) <= MESSAGE_BYTES // 4 and value.isprintable()
    if type(value) is int or type(value) is float:
        return -_BOUND < value < _BOUND
    return isinstance(value, bool)
