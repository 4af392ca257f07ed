"""The words of a filter mean the same on every face, and what they do not mean is said."""

from datetime import UTC, datetime, timedelta

import pytest

from uow.db.models import TaskState
from uow.errors import InvalidFilter
from uow.questions.filters import TaskFilter

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


def read(*words: tuple[str, str]) -> TaskFilter:
    return TaskFilter.read(words, NOW)


def test_every_word_is_understood() -> None:
    found = read(
        ("state", "failed, cancelled"), ("state", "queued"), ("name", "billing.*"),
        ("queue", "arq:mail"), ("user", "7"), ("since", "3d"), ("until", "2030-01-31T12:00+01:00"),
        ("settled-since", "12h"), ("settled_until", "2030-01-31T11:00"), ("error", "ValueError"),
        ("worker", "host:1"), ("arg:order_id", "7"), ("arg", "kind=a=b"), ("schedule", "nightly"),
    )  # fmt: skip
    assert found == TaskFilter(
        states=frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.QUEUED}),
        name="billing.*", queue="arq:mail", user="7", since=NOW - timedelta(days=3),
        until=NOW - timedelta(hours=1), settled_since=NOW - timedelta(hours=12),
        settled_until=NOW - timedelta(hours=1), error="ValueError", worker="host:1",
        arguments=(("kind", "a=b"), ("order_id", "7")), schedule="nightly",
    )  # fmt: skip
    assert (found.prefix, found.exact_name) == ("billing.", None)


def test_what_a_filter_says_means_the_same_whenever_it_is_read() -> None:
    found = read(
        ("state", "failed"), ("state", "queued"), ("name", "x"), ("since", "3d"), ("arg", "a_b=7"),
        ("settled-until", "90s"), ("schedule", "s"), ("user", "ä&=\n"),
    )  # fmt: skip
    assert TaskFilter.read(found.said(), NOW + timedelta(days=9)) == found
    assert found.said()[:2] == [("state", "queued,failed"), ("name", "x")]


def test_one_that_says_nothing_means_all() -> None:
    assert not read(("state", ""), ("name", ""))
    assert read(("queue", "q"))


@pytest.mark.parametrize(("given", "ago"), [
    ("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("5 min", timedelta(minutes=5)),
    ("12h", timedelta(hours=12)), ("3d", timedelta(days=3)), ("2w", timedelta(days=14)),
])  # fmt: skip
def test_a_moment_may_be_said_by_how_long_ago_it_was(given: str, ago: timedelta) -> None:
    assert read(("since", given)).since == NOW - ago


@pytest.mark.parametrize(("word", "value", "told"), [
    ("names", "x", "names is no word of a filter; did you mean name?"),
    ("zzz", "x", "there are state, name, queue"),
    ("parent", "x", "tasks have no parents yet"),
    ("state", "done", "state=done: there is no such state; scheduled, queued"),
    ("since", "soon", "since=soon is no moment: write it as 2030-01-31T12:00Z"),
    ("since", "999999999d", "since=999999999d is no moment"),
    ("until", "0001-01-01", "until=0001-01-01 is out of range"),
    ("name", "a*b", "* may be at the end alone"),
    ("name", "\x00", "name: that is nothing that a task can have"),
    ("user", "\ud800", "user: that is nothing that a task can have"),
    ("user", "x" * 513, "user: that is nothing that a task can have"),
    ("arg", "order_id", "write it as key=value"),
    ("arg:", "7", "arg: that is nothing"),
])  # fmt: skip
def test_what_is_not_understood_is_said(word: str, value: str, told: str) -> None:
    with pytest.raises(InvalidFilter) as raised:
        read((word, value))
    assert told in str(raised.value)
    assert len(str(raised.value)) < 300


def test_a_word_may_be_there_once() -> None:
    for word in ("name", "since", "arg:x"):
        with pytest.raises(InvalidFilter, match="is there twice"):
            read((word, "1h"), (word, "2h"))


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidFilter, match="settled-since is not before settled-until"):
        read(("settled-since", "1h"), ("settled-until", "2h"))


def test_at_most_five_arguments_can_be_named() -> None:
    read(*((f"arg:{n}", "1") for n in range(5)))
    with pytest.raises(InvalidFilter, match="at most 5"):
        read(*((f"arg:{n}", "1") for n in range(6)))
