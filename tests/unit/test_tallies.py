"""What is counted, how it is shown, and that no label has more values than are good."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as read

from uow.attempt.notes import UNKNOWN, Notes
from uow.attempt.telling import EndedAttempt
from uow.db.backlog import Backlog
from uow.events import ServerAway, ServerBack
from uow.events.spine import Spine
from uow.metrics.backlog import MOST_QUEUES, summed
from uow.metrics.families import text_of
from uow.metrics.metrics import Metrics
from uow.metrics.tallies import MOST_TASKS, OTHERS, Durations, ServersUp
from uow.process.exposition import is_openmetrics_wanted, merged
from uow.tasks.outcome import Completed

strictly_read: Any = parser.text_string_to_metric_families

NOW = 1_700_000_000.0

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def _it_is_always_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def ended(name: str = "mails.send", ran: float = 0.25, trace: str = "") -> EndedAttempt:
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-{trace}"} if trace else {}
    task = SimpleNamespace(name=name, queue="arq:queue", user_id="ann", headers=headers)
    attempt: Any = SimpleNamespace(task=task, began=NOW - ran, waited=0.01)
    return EndedAttempt(attempt, Completed(b"null"))


def count(
    metrics: Metrics, *attempts: EndedAttempt, is_known: Callable[[str], bool] | None = None
) -> None:
    events = Spine()
    notes = Notes(events, is_known or {"mails.send"}.__contains__)
    with metrics.listening(events, notes):
        events.emit_all(attempts)


def test_a_duration_on_a_bound_is_in_the_bucket_below_it() -> None:
    durations = Durations((0.1, 1.0))
    durations.note((0.0, 0.1, 0.100001, 1.0, 7.0))
    assert durations.counts == [2, 2, 1]
    assert durations.total == pytest.approx(8.200001)


def test_a_clock_that_is_set_back_makes_no_sum_smaller() -> None:
    durations = Durations((0.1, 1.0))
    durations.note((-3600.0, 0.5))
    assert (durations.counts, durations.total) == ([1, 1, 0], 0.5)


def test_a_name_that_no_function_has_is_no_label() -> None:
    metrics = Metrics()
    count(metrics, ended(), ended("'; DROP TABLE task"), ended("another stranger"))
    assert {task: tally.outcomes["completed"] for (task, _), tally in metrics.attempts()} == {
        "mails.send": 1, UNKNOWN: 2,
    }  # fmt: skip


def test_there_are_never_more_labels_than_are_good() -> None:
    metrics = Metrics()
    strangers = [ended(str(number)) for number in range(MOST_TASKS + 50)]
    count(metrics, *strangers, is_known=lambda _: True)
    tallies = dict(metrics.attempts())
    assert len(tallies) == MOST_TASKS + 1
    assert tallies[OTHERS, OTHERS].outcomes["completed"] == 50


def test_what_a_worker_has_not_told_yet_is_counted_when_somebody_asks() -> None:
    metrics, events = Metrics(), Spine()
    with metrics.listening(events, Notes(events, {"mails.send"}.__contains__)):
        for times in (1, 2):
            events.emit_all([ended()])
            ((_, tally),) = metrics.attempts()
            assert tally.outcomes["completed"] == times


def test_two_workers_of_a_process_are_counted_together() -> None:
    metrics, first, second = Metrics(), Spine(), Spine()
    with (
        metrics.listening(first, Notes(first, {"mails.send"}.__contains__)),
        metrics.listening(second, Notes(second, {"mails.send"}.__contains__)),
    ):
        first.emit_all([ended()])
        second.emit_all([ended(), ended()])
        ((_, tally),) = metrics.attempts()
        assert tally.outcomes["completed"] == 3


def test_queues_that_rows_name_are_bounded_and_none_is_lost() -> None:
    found = [Backlog(f"q{number}", "queued", 1, 1000.0 + number, None) for number in range(150)]
    waiting = summed([*found, Backlog("big", "queued", 500, None, 2.5)])
    assert len(waiting.tasks) == MOST_QUEUES + 1
    assert waiting.tasks["big", "queued"] == 500
    assert waiting.tasks[OTHERS, "queued"] == 150 - (MOST_QUEUES - 1)
    assert waiting.oldest[OTHERS] == 1000.0 + MOST_QUEUES - 1
    assert waiting.relay_lag == 2.5


def test_a_server_is_up_until_it_is_said_to_be_away() -> None:
    servers = ServersUp()
    servers.hear(ServerAway(server="redis", error=OSError()))
    assert servers.up == {"postgres": True, "redis": False}
    servers.hear(ServerBack(server="redis", seconds=1.0))
    assert servers.up["redis"]


def test_both_texts_are_what_their_formats_are() -> None:
    metrics = Metrics()
    count(metrics, ended(trace="01"), ended(ran=7.0, trace="00"), ended("stranger"))
    text = text_of(metrics, openmetrics=False).decode()
    assert "# TYPE worker_tasks_total counter" in text
    plain = next(one for one in read(text) if one.type == "counter")
    strict = {one.name: one for one in strictly_read(text_of(metrics, openmetrics=True).decode())}
    for family in (plain, strict["worker_tasks_total"]):
        samples = {one.labels["task"]: one.value for one in family.samples if one.value}
        assert samples == {"mails.send": 2, UNKNOWN: 1}
        assert {one.name for one in family.samples} == {"worker_tasks_total"}
    duration = strict["worker_task_duration_seconds"]
    exemplars = [(one.labels["le"], one.exemplar) for one in duration.samples if one.exemplar]
    ((bound, exemplar),) = exemplars  # and none of a trace that nobody keeps
    assert bound == "0.25"
    assert exemplar.labels == {"trace_id": TRACE}
    assert exemplar.value == 0.25


def test_a_users_id_is_in_no_text() -> None:
    metrics = Metrics()
    count(metrics, ended())
    assert b"ann" not in text_of(metrics, openmetrics=True)


# -- several processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_texts_of_several_processes_are_one_and_tell_them_apart(openmetrics: bool) -> None:
    first, second = Metrics(), Metrics()
    count(first, ended(trace="01"), ended())
    count(second, ended())
    parts = [
        (str(n), text_of(one, openmetrics=openmetrics)) for n, one in enumerate((first, second))
    ]
    text = merged(parts, openmetrics=openmetrics).decode()
    families = [*(strictly_read if openmetrics else read)(text)]
    assert len({(one.name, one.type) for one in families}) == len(families)
    samples = [one for family in families for one in family.samples]
    assert {one.labels["process"] for one in samples} == {"0", "1"}
    totals = {
        one.labels["process"]: one.value
        for one in samples
        if one.name == "worker_tasks_total" and one.value
    }
    assert totals == {"0": 2, "1": 1}
    assert any(one.exemplar for one in samples) == openmetrics


def test_braces_behind_a_value_are_no_labels() -> None:
    text = b'# TYPE a histogram\na 1.0 # {trace_id="x"} 0.5\nb{le="{} 1"} 2.0 # {trace_id="y"} 1\n'
    assert merged([("3", text)], openmetrics=False) == (
        b'# TYPE a histogram\na{process="3"} 1.0 # {trace_id="x"} 0.5\n'
        b'b{process="3",le="{} 1"} 2.0 # {trace_id="y"} 1\n'
    )


def test_a_queue_whose_name_has_a_line_end_spoils_no_line() -> None:
    text = b'# TYPE worker_tasks gauge\nworker_tasks{queue="a\rb",state="queued"} 1.0\n'
    assert merged([("0", text)], openmetrics=False) == (
        b'# TYPE worker_tasks gauge\nworker_tasks{process="0",queue="a\rb",state="queued"} 1.0\n'
    )


def test_nobodys_texts_are_an_empty_text() -> None:
    assert merged([], openmetrics=False) == b""
    assert merged([], openmetrics=True) == b"# EOF\n"


@pytest.mark.parametrize(
    ("accepted", "query", "is_wanted"),
    [
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3", "", True),
        ("text/plain", "", False), ("", "", False), ("*/*", "openmetrics", True),
    ],
)  # fmt: skip
def test_a_scraper_gets_exemplars_if_it_takes_them(
    accepted: str, query: str, is_wanted: bool
) -> None:
    assert is_openmetrics_wanted(accepted, query) is is_wanted
