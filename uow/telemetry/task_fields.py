"""Adds to a line what task it is about: for handlers and processors of the application's own.

Lines of `uow` and `arq.worker` have it whoever formats them. Those of a task function have it where
one of these is told to add it, or our own formatter writes them.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

from uow.telemetry.subject import FIELDS, fields_here

_FIELDS = frozenset(FIELDS)
_UNKNOWN = dict.fromkeys(FIELDS)


class TaskFields(logging.Filter):
    """Lets every record pass, with all of `FIELDS`; for a handler.

    They are None in a line that is about no task. What a record was given as ``extra`` stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields."""
        add_fields(record)
        return True


def add_task_fields(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: adds those of `FIELDS` that are known, unless they are there."""
    for name, value in (fields_here() or {}).items():
        if value is not None:
            event_dict.setdefault(name, value)
    return event_dict


def add_fields(record: logging.LogRecord) -> None:
    """Add all of `FIELDS` that the record has not: as they are where it is logged.

    Where it was said what it is about, that may be another task: its None stay.
    """
    kept = vars(record)
    for name, value in (fields_here() or _UNKNOWN).items():
        kept.setdefault(name, value)


def fields_of_record(record: logging.LogRecord) -> dict[str, object]:
    """All of `FIELDS`: as the record has them, or as they are where it was logged."""
    kept = vars(record)
    if kept.keys() >= _FIELDS:  # as in all that has passed our filter
        return {name: kept[name] for name in FIELDS}
    fields = dict(fields_here() or _UNKNOWN)
    fields.update({name: kept[name] for name in FIELDS if name in kept})
    return fields
