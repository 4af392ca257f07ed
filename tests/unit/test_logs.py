"""One record is one line, whoever has configured the log, and no error in it is too long."""

import io
import logging
from collections.abc import Iterator

import pytest

from worker.errors import TaskFailed
from worker.telemetry.description import TRACEBACK_BYTES
from worker.telemetry.logs import OneLine, edit, edit_logs

FORGED = "x\n2026-02-30 ERROR worker.attempt: forged\r\x1b[2K\u2028"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the logger `worker.tested` writes under somebody else's formatter."""
    logger, stream = logging.getLogger("worker.tested"), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)
    logger.removeFilter(edit)
    logger.propagate = True


def test_a_name_or_a_message_with_line_ends_forges_no_line(log: io.StringIO) -> None:
    edit_logs()
    logging.getLogger("worker.tested").warning("%s failed: %s", FORGED, ValueError(FORGED))
    told = r"x\n2026-02-30 ERROR worker.attempt: forged\r\x1b[2K\u2028"
    assert log.getvalue() == f"{told} failed: {told}\n"


def test_no_line_of_a_traceback_begins_as_one_of_the_log(log: io.StringIO) -> None:
    edit_logs()
    logging.getLogger("worker.tested").error("failed", exc_info=ValueError(FORGED))
    first, *trace = log.getvalue().rstrip("\n").split("\n")
    assert first == "failed"
    assert all(line.startswith("  ") for line in trace)
    assert "\x1b" not in log.getvalue()


def test_a_traceback_is_cut_and_shows_no_row(log: io.StringIO) -> None:
    edit_logs()
    error = ValueError("x" * 5_000_000 + "\nDETAIL:  Key (email)=(ann@x) exists.")
    logging.getLogger("worker.tested").error("failed: %s", error, exc_info=error)
    assert len(log.getvalue()) < 2 * TRACEBACK_BYTES
    assert "ann@x" not in log.getvalue()


def test_an_error_that_cannot_be_printed_can_be_logged(log: io.StringIO) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise KeyError("text")

    edit_logs()
    logging.getLogger("worker.tested").error("%s", Unprintable(), exc_info=Unprintable())
    assert "(cannot be shown: <class 'KeyError'>)" in log.getvalue()


def test_our_formatter_does_it_for_every_logger() -> None:
    record = logging.LogRecord("any", logging.ERROR, "", 1, "%s: %s", ("a\nb", KeyError("c")), None)
    assert OneLine("%(levelname)s %(message)s").format(record) == r"ERROR a\nb: 'c'"


def test_what_cannot_be_formatted_is_left_to_logging() -> None:
    record = logging.LogRecord("any", logging.ERROR, "", 1, "%d", ("no number",), None)
    assert edit(record)


def test_the_traceback_of_a_failed_task_is_in_arqs_log_no_more_than_its_arguments() -> None:
    failed = TaskFailed("ValueError", "no good")
    told = logging.LogRecord(
        "arq.worker", logging.ERROR, "", 1, "%s failed: %s", ("x", failed), (None, failed, None)
    )
    assert edit(told)
    assert told.exc_info is None
    assert told.getMessage() == "x failed: ValueError: no good"
    started = logging.LogRecord(
        "arq.worker", logging.INFO, "", 1, "%6.2fs → %s(%s)%s", (1.0, "x", "secret", ""), None
    )
    assert edit(started)
    assert started.getMessage() == "  1.00s → x(…)"
