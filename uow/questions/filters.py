"""Which tasks are meant: the words of a filter, the same in a URL, a form and the shell.

==================  =========================================================================
``state``           one or several states, separated by commas; or the word several times
``name``            of the task function; ``billing.*``: all that begin with ``billing.``
``queue``           where it was put
``user``            whose it is
``since``           asked for at this moment or later: ``2030-01-31T12:00Z``, ``12h``, ``3d``
``until``           asked for before this moment
``settled-since``   settled at this moment or later
``settled-until``   settled before this moment
``error``           the type of an error that one of its attempts has ended with
``worker``          the process that its last attempt was started by
``arg:KEY``         an argument; ``arg:customer.id=7`` looks into it. May be there several times
``schedule``        that has asked for it
==================  =========================================================================
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from uow.db.models import TaskState
from uow.errors import InvalidFilter
from uow.names import is_storable
from uow.questions.moments import moment_of
from uow.spelling import did_you_mean

WORDS = (
    "state", "name", "queue", "user", "since", "until", "settled-since", "settled-until", "error",
    "worker", "arg", "schedule",
)  # fmt: skip
"""All there are, in the order in which a filter is said."""

ARGUMENT = "arg:"

MOST_ARGUMENTS = 5
"""Arguments that one filter may name."""

_MOMENTS = ("since", "until", "settled-since", "settled-until")
_NO_PARENTS = "parent: tasks have no parents yet, so there is nothing to be found by it"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks are meant: those that fit everything that is given; without anything, all.

    Attributes:
        states: Any of these; empty: all.
        name: Of the task function, or with ``*`` at its end what names begin with.
        since: Asked for at this moment or later.
        until: Asked for before it; `settled_since` and `settled_until` likewise.
        error: The type of an error of any attempt.
        worker: The process of the last attempt.
        arguments: Each with the text that it is to be, in the order of their names.
        schedule: Its name.
    """

    states: frozenset[TaskState] = frozenset()
    name: str | None = None
    queue: str | None = None
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    settled_since: datetime | None = None
    settled_until: datetime | None = None
    error: str | None = None
    worker: str | None = None
    arguments: tuple[tuple[str, str], ...] = ()
    schedule: str | None = None

    @classmethod
    def read(cls, words: Iterable[tuple[str, str]], now: datetime | None = None) -> Self:
        """The filter that these words mean.

        Args:
            words: Each with its value, as a query string, a form or options have them:
                ``("state", "failed,cancelled")``, ``("arg:order_id", "7")`` or ``("arg",
                "order_id=7")``. An empty value is as if the word were not there.
            now: What ``12h`` counts from; default: this moment.

        Raises:
            InvalidFilter: A word is unknown or there twice, or a value does not fit.
        """
        reader = _Reader(now or datetime.now(UTC))
        for word, value in words:
            reader.take(word, value)
        reader.check()
        return cls(arguments=tuple(sorted(reader.arguments.items())), **reader.values)  # type: ignore[arg-type]

    def said(self) -> list[tuple[str, str]]:
        """The words that mean this filter, whenever they are read: moments are in UTC."""
        states = ",".join(state for state in TaskState if state in self.states)
        values: dict[str, object] = {
            "state": states, "name": self.name, "queue": self.queue, "user": self.user,
            "since": self.since, "until": self.until, "settled-since": self.settled_since,
            "settled-until": self.settled_until, "error": self.error, "worker": self.worker,
        }  # fmt: skip
        said = [(word, _said(value)) for word, value in values.items() if value]
        said += [(f"{ARGUMENT}{name}", text) for name, text in self.arguments]
        return said + ([("schedule", self.schedule)] if self.schedule else [])

    @property
    def prefix(self) -> str | None:
        """What the names of the meant tasks begin with; None: `name` is one name, or not given."""
        return self.name[:-1] if self.name and self.name.endswith("*") else None

    @property
    def exact_name(self) -> str | None:
        """The name that is meant alone."""
        return None if self.prefix is not None else self.name

    def __bool__(self) -> bool:
        """Whether it says anything."""
        return bool(self.said())


class _Reader:
    """Takes words, one by one."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.values: dict[str, object] = {}
        self.arguments: dict[str, str] = {}

    def take(self, given: str, value: str) -> None:
        if not value:
            return
        word = given.replace("_", "-") if not given.startswith(ARGUMENT) else given
        if word.startswith(ARGUMENT):
            self._take_argument(word.removeprefix(ARGUMENT), value)
        elif word == "arg":
            self._take_argument(*_halves(value))
        elif word == "state":
            self.values["states"] = self._states() | frozenset(_states_in(value))
        elif word in WORDS:
            self._take_one(word, value)
        else:
            raise InvalidFilter(_NO_PARENTS if word == "parent" else _no_such(given))

    def check(self) -> None:
        """Raise if two values do not fit each other."""
        for since, until in (("since", "until"), ("settled_since", "settled_until")):
            begin, end = self.values.get(since), self.values.get(until)
            if isinstance(begin, datetime) and isinstance(end, datetime) and begin >= end:
                raise InvalidFilter(
                    f"{since.replace('_', '-')} is not before {until.replace('_', '-')}: nothing "
                    "can be found"
                )

    def _take_one(self, word: str, value: str) -> None:
        attribute = word.replace("-", "_")
        if attribute in self.values:
            raise InvalidFilter(f"{word} is there twice: only state and arg may be")
        if word in _MOMENTS:
            self.values[attribute] = moment_of(word, value, self._now)
        else:
            self.values[attribute] = _text(word, value)

    def _take_argument(self, name: str, text: str) -> None:
        _text("arg", name)
        if name in self.arguments:
            raise InvalidFilter(f"{ARGUMENT}{name} is there twice")
        if len(self.arguments) == MOST_ARGUMENTS:
            raise InvalidFilter(f"at most {MOST_ARGUMENTS} arguments can be named")
        self.arguments[name] = _text(f"{ARGUMENT}{name}", text)

    def _states(self) -> frozenset[TaskState]:
        there = self.values.get("states", frozenset())
        assert isinstance(there, frozenset)  # noqa: S101 - nothing else is put there
        return there


def _states_in(value: str) -> Iterator[TaskState]:
    for given in filter(None, (part.strip() for part in value.split(","))):
        try:
            yield TaskState(given)
        except ValueError:
            there = ", ".join(TaskState)
            raise InvalidFilter(f"state={given[:80]}: there is no such state; {there}") from None


def _text(word: str, value: str) -> str:
    if not is_storable(value):
        raise InvalidFilter(f"{word}: that is nothing that a task can have")
    if word == "name" and "*" in value.rstrip("*"):
        raise InvalidFilter(f"name={value[:80]}: * may be at the end alone, as in billing.*")
    return value.rstrip("*") + "*" if word == "name" and value.endswith("*") else value


def _halves(value: str) -> tuple[str, str]:
    name, there, text = value.partition("=")
    if not there or not name or not text:
        raise InvalidFilter("arg: write it as key=value, as in order_id=7")
    return name, text


def _no_such(given: str) -> str:
    meant = did_you_mean(given, WORDS)
    hint = f"did you mean {meant}?" if meant else f"there are {', '.join(WORDS)}"
    return f"{given[:80]} is no word of a filter; {hint}"


def _said(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
