"""Our log and arq's: one line per event, its traceback below or in it, and no arguments.

Names, ids and errors come from others: what could end a line in them is written out, so that
nobody forges one; and no error is longer here than in its row (`uow.telemetry.description`).

The root logger is the application's: what it says there, in its modules or in a startup hook, holds
for us too, and what libraries log is no business of ours.
"""

import contextlib
import logging
import logging.config
from collections.abc import Iterable
from importlib import import_module
from typing import TextIO

from uow.errors import SettingsError, TaskFailed
from uow.settings.log_level import LogFormat, LogLevel
from uow.telemetry.description import message_of, on_one_line, one_line, trace_of
from uow.telemetry.json_lines import JsonLines
from uow.telemetry.subject import Subject, current
from uow.telemetry.task_fields import add_fields
from uow.user_code import described

LOGGERS = ("uow", "arq")
"""The loggers that a worker writes to."""

LISTED = 20
"""So many function names are in a line at most."""

LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

MARGIN = "  "
"""Before each line of a traceback: what an error says may have lines of its own."""

_LATE = (
    "uow.contrib.otel.instrumentation", "uow.contrib.otel.sending",
    "uow.contrib.sentry.enqueueing", "uow.contrib.sentry.monitors", "uow.contrib.sentry.redaction",
    "uow.sync.pusher",
)  # fmt: skip
"""Loggers of modules that user code imports, maybe in the middle of its first task."""

_ARQ = "arq.worker"
_ARQ_START = "%6.2fs → %s(%s)%s"
_ARQ_BEGIN = "Starting worker for %d functions: %s"


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


class Unheard(logging.StreamHandler[TextIO]):
    """Writes to standard error what no handler of anybody else gets: nothing is there twice.

    It looks with each record: an application may configure its log in a startup hook, too.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write `record`, if nobody else does."""
        if not _is_heard(record):
            super().emit(record)


_DEAF = (Unheard, logging.NullHandler)


def configure(level: LogLevel, form: LogFormat = "text", loggers: Iterable[str] = LOGGERS) -> None:
    """Log to standard error from `level` on, where the application has said nothing else.

    To be called when the application has been imported: a level and handlers of its own are left as
    they are, and so is the root logger. A `dictConfig` that has switched off our loggers because
    they were there before it (``disable_existing_loggers``) did not mean them.

    Where nobody handles a line of somebody else's, logging itself writes its bare text from WARNING
    on; as JSON, that is a line as the others.
    """
    formatter = JsonLines() if form == "json" else OneLine(LINE)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(formatter if form == "json" else None)
    for name in loggers:
        logger = logging.getLogger(name)
        own = next((one for one in logger.handlers if isinstance(one, Unheard)), None)
        if logger.level == logging.NOTSET or own is not None:
            logger.setLevel(level)
        if own is None:
            own = Unheard()
            logger.addHandler(own)
        own.setFormatter(formatter)
        for existing in _below(name):
            existing.disabled = False


def configure_as_told(path: str) -> None:
    """Configure logging with the dict at `path`, as arq's ``--custom-log-dict`` does.

    Raises:
        SettingsError: There is none, or it is none that `logging.config.dictConfig` takes.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        logging.config.dictConfig(getattr(import_module(module), name))
    except Exception as error:  # whatever somebody's module raises, or their formatter
        raise SettingsError(f"--custom-log-dict {path}: {described(error)}") from error


def listed(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    first = list(names)
    more = len(first) - LISTED
    return ", ".join(first[:LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _is_heard(record: logging.LogRecord) -> bool:
    """Whether a handler that is not ours takes `record`; one for errors alone takes no other."""
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger is not None:
        for one in logger.handlers:
            if not isinstance(one, _DEAF) and one.level <= record.levelno:
                return True
        logger = logger.parent if logger.propagate else None
    return False


def _below(name: str) -> list[logging.Logger]:
    """The logger of that name and those below it that exist."""
    names = [one for one in logging.root.manager.loggerDict if f"{one}.".startswith(f"{name}.")]
    return [logging.getLogger(one) for one in names]


def edit_logs() -> None:
    """Edit arq's log and ours, whoever has configured the log of this process.

    From arq's is taken what does not belong there: job arguments, which stock arq writes at INFO;
    and the traceback of a failed task, which we have logged where it happened. Lines about a task
    get its fields (`uow.telemetry.subject`), whoever formats them.
    """
    ours = [name for name in logging.root.manager.loggerDict if name.startswith("uow.")]
    for name in (_ARQ, *ours, *_LATE):
        logger = logging.getLogger(name)
        if edit not in logger.filters:
            logger.addFilter(edit)


def edit(record: logging.LogRecord) -> bool:
    """Take from `record` what is nobody's business, and make one line of it.

    One that is logged while a job is at hand is told which task it is about.
    """
    about = current()
    if record.name == _ARQ:
        _leave_out(record, about)
    if about is not None:
        add_fields(record)
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


def _leave_out(record: logging.LogRecord, about: Subject | None) -> None:
    if record.exc_info and isinstance(record.exc_info[1], TaskFailed):
        record.exc_info = None
    if record.msg == _ARQ_BEGIN and isinstance(record.args, tuple) and len(record.args) == 2:
        number, names = record.args
        record.args = (number, listed(str(names).split(", ")))
    if record.msg == _ARQ_START and isinstance(record.args, tuple) and len(record.args) == 4:
        since, reference, arguments, extra = record.args
        if about is not None and about.task is None:  # stock arq knows it before we do
            about.task = str(reference).removeprefix(f"{about.job_id}:")
        record.args = (since, reference, "…" if arguments else "", extra)
