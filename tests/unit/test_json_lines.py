"""One record is one object on one line, whatever is in it; a line about a task says which."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from uow.errors import SettingsError
from uow.settings.environment import load_settings
from uow.settings.log_level import FORMAT_NAME, log_format
from uow.telemetry import JsonLines, TaskFields, add_task_fields, subject
from uow.telemetry.subject import FIELDS, Subject, fields_of, trace_of

TASK_ID = uuid4()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def record(message: object = "said", *args: object, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("any").makeRecord(
        "any", logging.ERROR, "", 1, message, args, None, extra=extra
    )
    made.created = 1_700_000_000.25
    return made


def line_of(one: logging.LogRecord) -> dict[str, Any]:
    written = JsonLines().format(one)
    assert written.isascii()
    assert "\n" not in written
    told: dict[str, Any] = json.loads(written, parse_constant=pytest.fail)
    return told


class Attempted(NamedTuple):
    """A task that runs."""

    id: UUID
    name: str
    attempt: int
    user_id: str
    headers: dict[str, str]


@pytest.fixture
def about() -> Iterator[Subject]:
    """The test is about a job."""
    one = Subject("job", "arq:queue")
    one.is_attempt(Attempted(TASK_ID, "mails.send", 2, "ann", {"traceparent": TRACEPARENT}))
    token = subject.enter(one)
    yield one
    subject.leave(token)


def test_a_line_has_its_moment_in_utc_and_what_was_said() -> None:
    assert line_of(record("%s said", "ann")) == {
        "time": "2023-11-14T22:13:20.250Z", "level": "ERROR", "logger": "any",
        "message": "ann said",
    }  # fmt: skip


def test_a_line_about_a_task_has_its_fields(about: Subject) -> None:
    told = line_of(record())
    assert {name: told[name] for name in FIELDS if name != "worker"} == {
        "task_id": str(TASK_ID), "task": "mails.send", "job_id": "job", "queue": "arq:queue",
        "user_id": "ann", "attempt": 2, "trace_id": TRACE,
    }  # fmt: skip


def test_a_line_that_says_itself_what_it_is_about_is_about_nothing_else(about: Subject) -> None:
    told = line_of(record("of another", **fields_of(job_id="another")))
    assert told["job_id"] == "another"
    assert not {"task", "task_id", "user_id", "attempt", "trace_id"} & told.keys()


@pytest.mark.parametrize(
    "value",
    [float("inf"), float("nan"), 10**5000, object(), {1: 2}, [{(1, 2): 3}], "\ud800", "x" * 100_000,
     b"\xff", {"a": float("inf")}, ["x" * 10_000], Path("x")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_given_as_extra_never_spoils_the_line(value: object) -> None:
    told = line_of(record(given=value))
    assert len(json.dumps(told)) < 20_000
    assert "given" in told


def test_what_is_in_a_circle_cannot_be_shown_or_formatted_is_told_all_the_same() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise KeyError("text")

    circle: list[object] = []
    circle.append(circle)
    assert line_of(record(circle=circle))["circle"] == "[[...]]"
    assert "cannot be shown" in line_of(record(value=Unprintable()))["value"]
    assert line_of(record("%d", "no number"))["message"] == "%d"


def test_an_extra_of_a_name_that_is_ours_does_not_replace_it() -> None:
    told = line_of(record(time="late", level="low", logger="mine", order=7))
    assert told["level"] == "ERROR"
    assert told["time_"] == "late"
    assert told["order"] == 7


def test_an_exception_is_text_and_shows_no_row() -> None:
    error = ValueError("no\nDETAIL:  Key (email)=(ann@x) exists.")
    one = record()
    one.exc_info = (ValueError, error, None)
    told = line_of(one)
    assert told["exception"].startswith("ValueError: no\n")
    assert "ann@x" not in told["exception"]


def test_a_handler_of_the_applications_own_gets_the_fields_from_a_filter(about: Subject) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(task)s %(attempt)s %(trace_id)s: %(message)s"))
    handler.addFilter(TaskFields())
    handler.handle(record())
    token = subject.enter(None)  # type: ignore[arg-type]
    handler.handle(record(task="mine"))
    subject.leave(token)
    assert stream.getvalue() == f"mails.send 2 {TRACE}: said\nmine None None: said\n"


def test_structlog_gets_those_that_are_known(about: Subject) -> None:
    event = add_task_fields(None, "info", {"event": "said", "queue": "mine"})
    assert event["task"] == "mails.send"
    assert event["queue"] == "mine"
    assert "worker" not in event


@pytest.mark.parametrize(
    "header", ["", "nonsense", TRACEPARENT.upper(), f"00-{'0' * 32}-00f067aa0ba902b7-01",
               TRACEPARENT + "\n{}", TRACEPARENT[:-1]]
)  # fmt: skip
def test_a_header_that_names_no_trace_is_none(header: str) -> None:
    assert trace_of({"traceparent": header}) is None


def test_a_trace_that_nobody_keeps_is_told_from_one_that_somebody_does() -> None:
    left_out = TRACEPARENT.removesuffix("01") + "00"
    assert trace_of({"traceparent": left_out}) == TRACE
    assert trace_of({"traceparent": left_out}, sampled=True) is None
    assert trace_of({"traceparent": TRACEPARENT}, sampled=True) == TRACE


def test_the_current_span_of_opentelemetry_goes_before_the_header(about: Subject) -> None:
    from opentelemetry import trace

    context = trace.SpanContext(7, 7, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        assert line_of(record())["trace_id"] == f"{7:032x}"
    assert line_of(record())["trace_id"] == TRACE


def test_the_setting_is_read_alike_for_tasks_and_for_arq(monkeypatch: pytest.MonkeyPatch) -> None:
    assert log_format() == load_settings().log_format == "text"
    monkeypatch.setenv(FORMAT_NAME, "JSON")
    assert log_format() == load_settings().log_format == "json"
    monkeypatch.setenv(FORMAT_NAME, "yaml")
    with pytest.raises(SettingsError, match="WORKER_LOG_FORMAT is none of text, json"):
        log_format()
    with pytest.raises(SettingsError, match="WORKER_LOG_FORMAT"):
        load_settings()
