"""The process's log: one line per event, and no arguments in it."""

import logging
from typing import Literal

_ARQ_START = "%6.2fs → %s(%s)%s"


def configure(level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]) -> None:
    """Log to standard error from `level` on."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", force=True
    )


def redact_arguments() -> None:
    """Keep job arguments out of arq's log: stock arq writes all of them at INFO."""
    logger = logging.getLogger("arq.worker")
    if _without_arguments not in logger.filters:
        logger.addFilter(_without_arguments)


def _without_arguments(record: logging.LogRecord) -> bool:
    if record.msg == _ARQ_START and isinstance(record.args, tuple) and len(record.args) == 4:
        since, reference, arguments, extra = record.args
        record.args = (since, reference, "…" if arguments else "", extra)
    return True
