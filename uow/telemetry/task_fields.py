"""Adds to a line what task it is about: for handlers and processors of the application's own.

Lines of `uow` and `arq.worker` have it whoever formats them. Those of a task function have it where
one of these is told to add it, or our own formatter writes them.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

from uow.telemetry.subject import FIELDS, fields_here


class TaskFields(logging.Filter):
    """Lets every record pass, with all of `FIELDS`; for a handler.

    They are None in a line that is about no task. What a record was given as ``extra`` stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields."""
        vars(record).update(fields_of_record(record))
        return True


def add_task_fields(
    logger: Any, method_name: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: adds those of `FIELDS` that are known, unless they are there."""
    for name, value in (fields_here() or {}).items():
        if value is not None:
            event_dict.setdefault(name, value)
    return event_dict


def fields_of_record(record: logging.LogRecord) -> dict[str, object]:
    """All of `FIELDS`: as the record has them, or as they are where it was logged."""
    kept = vars(record)
    fields = fields_here() or dict.fromkeys(FIELDS)
    # Where it was said what it is about, that may be another task: its None are to be None.
    fields.update({name: kept[name] for name in FIELDS if name in kept})
    return fields
