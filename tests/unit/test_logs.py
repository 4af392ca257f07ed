"""One record is one line, whoever has configured the log, and no error in it is too long."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from tests.processes import ROOT
from uow.api import server
from uow.cli import app
from uow.errors import ServerUnreachable, SettingsError, TaskFailed
from uow.telemetry.description import TRACEBACK_BYTES
from uow.telemetry.logs import (
    LOGGERS,
    OneLine,
    configure,
    configure_as_told,
    edit,
    edit_logs,
    listed,
)

FORGED = "x\n2026-02-30 ERROR worker.attempt: forged\r\x1b[2K\u2028"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the logger `uow.tested` writes under somebody else's formatter."""
    logger, stream = logging.getLogger("uow.tested"), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)
    logger.removeFilter(edit)
    logger.propagate = True


def test_a_name_or_a_message_with_line_ends_forges_no_line(log: io.StringIO) -> None:
    edit_logs()
    logging.getLogger("uow.tested").warning("%s failed: %s", FORGED, ValueError(FORGED))
    told = r"x\n2026-02-30 ERROR worker.attempt: forged\r\x1b[2K\u2028"
    assert log.getvalue() == f"{told} failed: {told}\n"


def test_no_line_of_a_traceback_begins_as_one_of_the_log(log: io.StringIO) -> None:
    edit_logs()
    logging.getLogger("uow.tested").error("failed", exc_info=ValueError(FORGED))
    first, *trace = log.getvalue().rstrip("\n").split("\n")
    assert first == "failed"
    assert all(line.startswith("  ") for line in trace)
    assert "\x1b" not in log.getvalue()


def test_a_traceback_is_cut_and_shows_no_row(log: io.StringIO) -> None:
    edit_logs()
    error = ValueError("x" * 5_000_000 + "\nDETAIL:  Key (email)=(ann@x) exists.")
    logging.getLogger("uow.tested").error("failed: %s", error, exc_info=error)
    assert len(log.getvalue()) < 2 * TRACEBACK_BYTES
    assert "ann@x" not in log.getvalue()


def test_an_error_that_cannot_be_printed_can_be_logged(log: io.StringIO) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise KeyError("text")

    edit_logs()
    logging.getLogger("uow.tested").error("%s", Unprintable(), exc_info=Unprintable())
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
        "arq.worker",
        logging.ERROR,
        "",
        1,
        "%s failed: %s",
        ("x", failed),
        (TaskFailed, failed, None),
    )
    assert edit(told)
    assert told.exc_info is None
    assert told.getMessage() == "x failed: ValueError: no good"
    started = logging.LogRecord(
        "arq.worker", logging.INFO, "", 1, "%6.2fs → %s(%s)%s", (1.0, "x", "secret", ""), None
    )
    assert edit(started)
    assert started.getMessage() == "  1.00s → x(…)"


# -- who configures what ---------------------------------------------------------------------------


Alone = Callable[[], io.StringIO]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Alone]:
    """Have nobody configured anything, pytest included; gives what reaches standard error."""

    def begin() -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(logging.root, "handlers", [])
        as_made = {"level": logging.NOTSET, "disabled": False}
        for logger in map(logging.getLogger, (*LOGGERS, "uow.tested", "arq.worker")):
            for name, value in {**as_made, "handlers": [], "filters": []}.items():
                monkeypatch.setattr(logger, name, value)
        _forget_levels()
        return stream

    yield begin
    logging.lastResort.setFormatter(None)  # type: ignore[union-attr]
    monkeypatch.undo()
    _forget_levels()


def _forget_levels() -> None:
    """A logger remembers which levels it takes, until somebody sets one."""
    logging.root.setLevel(logging.root.level)


def say(*names: str) -> None:
    for name in names:
        logging.getLogger(name).info("from %s", name)


def test_only_our_loggers_and_arqs_are_configured(alone: Alone) -> None:
    said = alone()
    configure("INFO")
    say("uow.tested", "arq.worker", "library")
    assert [line.split(": ")[1] for line in said.getvalue().splitlines()] == [
        "from uow.tested", "from arq.worker"
    ]  # fmt: skip
    assert logging.root.handlers == []


def test_a_second_call_changes_the_level_and_doubles_nothing(alone: Alone) -> None:
    said = alone()
    configure("WARNING")
    say("uow.tested")
    configure("INFO")
    say("uow.tested")
    assert said.getvalue().count("from uow.tested") == 1


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "in a startup hook"])
@pytest.mark.parametrize("where", ["", "arq"], ids=["root", "arq"])
def test_what_the_application_writes_is_not_written_twice(
    alone: Alone, where: str, is_late: bool
) -> None:
    said = alone()
    theirs = logging.StreamHandler(io.StringIO())
    if is_late:
        configure("INFO")
    logging.getLogger(where).addHandler(theirs)
    if not is_late:
        configure("INFO")
    say("arq.worker")
    assert theirs.stream.getvalue() == "from arq.worker\n"
    assert said.getvalue() == ""
    logging.getLogger(where).removeHandler(theirs)


@pytest.mark.parametrize("where", ["", "arq"], ids=["root", "arq"])
def test_a_handler_that_does_not_take_a_line_leaves_it_to_us(alone: Alone, where: str) -> None:
    said = alone()
    for_errors = logging.StreamHandler(io.StringIO())
    for_errors.setLevel(logging.ERROR)
    configure("INFO")
    for theirs in (logging.NullHandler(), for_errors):
        logging.getLogger(where).addHandler(theirs)
    say("arq.worker")
    logging.getLogger("arq.worker").error("failed")
    assert for_errors.stream.getvalue() == "failed\n"
    assert [line.split(": ")[1] for line in said.getvalue().splitlines()] == ["from arq.worker"]


def test_what_nobody_else_handles_is_json_as_well(alone: Alone) -> None:
    said = alone()
    configure("INFO", "json")
    say("uow.tested", "arq.worker", "library")  # of these, logging itself does not write the last
    logging.getLogger("library").warning("a warning")
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [one["message"] for one in lines] == ["from uow.tested", "from arq.worker", "a warning"]


def test_a_format_can_be_changed(alone: Alone) -> None:
    said = alone()
    configure("INFO", "json")
    configure("INFO", "text")
    say("uow.tested")
    logging.getLogger("library").warning("a warning")
    ours, theirs = said.getvalue().splitlines()
    assert ours.endswith("INFO    uow.tested: from uow.tested")
    assert theirs == "a warning"


def test_what_the_application_formats_is_not_made_json(alone: Alone) -> None:
    said = alone()
    theirs = logging.StreamHandler(io.StringIO())
    logging.root.addHandler(theirs)
    configure("INFO", "json")
    say("uow.tested")
    logging.root.removeHandler(theirs)
    assert theirs.stream.getvalue() == "from uow.tested\n"
    assert said.getvalue() == ""


def test_a_level_of_the_applications_own_stays(alone: Alone) -> None:
    said = alone()
    logging.getLogger("arq").setLevel(logging.ERROR)
    configure("INFO")
    say("arq.worker", "uow.tested")
    assert said.getvalue().count("from") == 1


def test_a_level_that_a_module_of_the_api_sets_when_it_is_imported_stays(
    alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone()

    def import_application(*_: object) -> None:
        logging.getLogger("uow").setLevel(logging.ERROR)

    async def find_none(_: object) -> None:
        raise ServerUnreachable("nobody is there")

    monkeypatch.setattr(server, "create_app", import_application)
    monkeypatch.setattr(server, "wait_for_servers", find_none)
    monkeypatch.setenv("WORKER_LOG_LEVEL", "DEBUG")
    assert "nobody is there" in CliRunner().invoke(app, ["api"]).stderr
    assert logging.getLogger("uow").level == logging.ERROR
    assert logging.getLogger("uvicorn").level == logging.DEBUG


def test_a_dictconfig_that_switches_off_what_is_there_does_not_silence_us(alone: Alone) -> None:
    said = alone()
    for name in ("uow.tested", "arq.worker"):  # as disable_existing_loggers does it
        logging.getLogger(name).disabled = True
    configure("INFO")
    say("uow.tested", "arq.worker")
    assert said.getvalue().count("from") == 2


def test_a_dict_that_is_not_there_or_is_none_is_one_line() -> None:
    for path in ("nowhere.config", "uow.telemetry.logs.LOGGERS", "config"):
        with pytest.raises(SettingsError, match=f"--custom-log-dict {path}: "):
            configure_as_told(path)


def test_a_line_names_some_functions_and_how_many_more_there_are() -> None:
    names = [f"function_{number}" for number in range(2_000)]
    assert listed(names[:2]) == "function_0, function_1"
    assert listed(names).endswith("function_19 and 1,980 more")
    begun = logging.LogRecord(
        "arq.worker", logging.INFO, "", 1, "Starting worker for %d functions: %s",
        (2_000, ", ".join(names)), None,
    )  # fmt: skip
    assert edit(begun)
    assert begun.getMessage() == f"Starting worker for 2000 functions: {listed(names)}"


def test_modules_that_are_imported_when_a_task_wants_them_have_their_lines_edited_too() -> None:
    edit_logs()
    late = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("contrib", "sync")
        for path in (ROOT / "uow" / folder).rglob("*.py")
        if "getLogger(__name__)" in path.read_text()
    ]
    assert "uow.sync.pusher" in late
    assert [name for name in late if edit not in logging.getLogger(name).filters] == []
