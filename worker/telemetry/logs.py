"""The process's log: one line per event, tracebacks below it, and no arguments in it.

Names, ids and errors come from others: what could end a line in them is written out, so that
nobody forges one; and no error is longer here than in its row (`worker.telemetry.description`).
"""

import contextlib
import logging

from worker.errors import TaskFailed
from worker.log_level import LogLevel
from worker.telemetry.description import message_of, on_one_line, one_line, trace_of

MARGIN = "  "
"""Before each line of a traceback: what an error says may have lines of its own."""

_ARQ = "arq.worker"
_ARQ_START = "%6.2fs → %s(%s)%s"


class OneLine(logging.Formatter):
    """Formats a record of any logger as one line, and its traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of `record`."""
        _tell_errors(record)
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own word
        """The line of `record`."""
        record.message = on_one_line(record.message)
        return super().formatMessage(record)


def configure(level: LogLevel) -> None:
    """Log to standard error from `level` on."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def edit_logs() -> None:
    """Edit arq's log and ours, whoever has configured the log of this process.

    From arq's is taken what does not belong there: job arguments, which stock arq writes at INFO;
    and the traceback of a failed task, which we have logged where it happened.
    """
    ours = [name for name in logging.root.manager.loggerDict if name.startswith("worker.")]
    for name in (_ARQ, *ours):
        logger = logging.getLogger(name)
        if edit not in logger.filters:
            logger.addFilter(edit)


def edit(record: logging.LogRecord) -> bool:
    """Take from `record` what is nobody's business, and make one line of it."""
    if record.name == _ARQ:
        _leave_out(record)
    _tell_errors(record)
    _flatten(record)
    return True


def _flatten(record: logging.LogRecord) -> None:
    """Make of `record` one line, for whoever formats it."""
    with contextlib.suppress(Exception):  # what cannot be formatted, logging itself reports
        said = record.getMessage()
        line = on_one_line(said)
        if line != said:
            record.msg, record.args = line, None


def _tell_errors(record: logging.LogRecord) -> None:
    """Have errors told as their rows tell them, and a traceback that is not too long."""
    if isinstance(record.args, tuple):
        for value in record.args:
            if isinstance(value, BaseException):
                record.args = tuple([_told(each) for each in record.args])
                break
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and not record.exc_text:
        record.exc_text = _with_margin(trace_of(error))


def _with_margin(trace: str) -> str:
    """A traceback none of whose lines looks like one of the log's."""
    lines = trace.rstrip("\n").split("\n")
    return "\n".join(f"{MARGIN}{on_one_line(line)}" for line in lines)


def _told(value: object) -> object:
    """A value of a line; an error as what is told of it."""
    if not isinstance(value, BaseException):
        return value
    return one_line(value) if isinstance(value, TaskFailed) else message_of(value)


def _leave_out(record: logging.LogRecord) -> None:
    if record.exc_info and isinstance(record.exc_info[1], TaskFailed):
        record.exc_info = None
    if record.msg == _ARQ_START and isinstance(record.args, tuple) and len(record.args) == 4:
        since, reference, arguments, extra = record.args
        record.args = (since, reference, "…" if arguments else "", extra)
