"""The process's log: one line per event, and no arguments in it."""

import logging
from typing import Literal

from worker.errors import TaskFailed

_ARQ_START = "%6.2fs → %s(%s)%s"


def configure(level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]) -> None:
    """Log to standard error from `level` on."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )


def edit_arq_log() -> None:
    """Keep out of arq's log what does not belong there.

    Job arguments, which stock arq writes at INFO; and the traceback of a failed task, which we have
    logged where it happened.
    """
    logger = logging.getLogger("arq.worker")
    if _edited not in logger.filters:
        logger.addFilter(_edited)


def _edited(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], TaskFailed):
        record.exc_info = None
    if record.msg == _ARQ_START and isinstance(record.args, tuple) and len(record.args) == 4:
        since, reference, arguments, extra = record.args
        record.args = (since, reference, "…" if arguments else "", extra)
    return True
