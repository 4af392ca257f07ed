"""Headers: a small dict of text that travels with a task, and what adds to it.

What a task enqueues has the headers of that task, unless it is enqueued with others. Hooks
(`@on_enqueue`) add to either: a request id, a tenant, a trace.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from pydantic_core import from_json, to_json

from uow.errors import InvalidOptions
from uow.names import is_storable, is_text

SCHEDULE = "uow-schedule"
"""The header of a tick's task that says which schedule has asked for it."""

MAX_HEADERS_BYTES = 4096
"""Of a task's headers, as JSON: they are read at each start, and are no place for data."""

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def no_headers() -> Mapping[str, str]:
    """What most tasks have."""
    return NO_HEADERS


@dataclass(frozen=True, slots=True)
class Enqueuing:
    """What is about to be enqueued, as hooks see it.

    Attributes:
        name: Of the task function.
        queue: Of the tasks.
        user_id: Whose they are; None: nobody's.
        headers: What they have so far.
        count: How many; all of them get the same headers.
    """

    name: str
    queue: str
    user_id: str | None
    headers: Mapping[str, str]
    count: int


Surrounding = Generator[Mapping[str, str] | None, Sequence[UUID], None]
"""Yields headers to add, once, and gets the ids of what was written."""

EnqueueHook = Callable[[Enqueuing], Mapping[str, str] | None]
"""Returns headers to add; None: none."""

SurroundingHook = Callable[[Enqueuing], Iterator[Mapping[str, str] | None]]
"""One with a ``yield``, which is around the writing: it makes a `Surrounding`."""

_inherited: ContextVar[Mapping[str, str]] = ContextVar("_inherited", default=NO_HEADERS)


def inherited() -> Mapping[str, str]:
    """The headers of the task that enqueues here; none, if no task does."""
    return _inherited.get()


def inherit(headers: Mapping[str, str]) -> None:
    """From now on what this asyncio task enqueues has these headers: it is an attempt's."""
    _inherited.set(headers)


def refuse_unless_headers(said_by: str, headers: object) -> None:
    """Raise unless it is a dict of text by text, and small.

    Raises:
        InvalidOptions: It is not.
    """
    if not isinstance(headers, Mapping):
        raise InvalidOptions(f"{said_by} {headers!r:.80}, which is no dict of text by text")
    for pair in headers.items():
        if not _is_pair(*pair):
            raise InvalidOptions(
                f"{said_by} headers with {pair!r:.80}, of which one is no text, or none that "
                "Postgres can store"
            )
    encode_headers(said_by, headers)


def encode_headers(said_by: str, headers: Mapping[str, str]) -> str | None:
    """Headers as JSON; None: there are none.

    Raises:
        InvalidOptions: They are larger than 4 KiB.
    """
    if not headers:
        return None
    written = to_json(dict(headers))
    if len(written) > MAX_HEADERS_BYTES:
        raise InvalidOptions(
            f"{said_by} headers of {len(written):,} bytes of JSON, but at most "
            f"{MAX_HEADERS_BYTES:,} travel with a task: give what is larger as an argument"
        )
    return written.decode()


def fit(headers: Mapping[str, str], added: Mapping[str, str]) -> bool:
    """Whether all of these may travel with a task."""
    return len(to_json({**headers, **added})) <= MAX_HEADERS_BYTES


def decode_headers(written: str | None) -> Mapping[str, str]:
    """The headers of a row."""
    if written is None:
        return NO_HEADERS
    return MappingProxyType(from_json(written))


def are_headers(value: object) -> bool:
    """Whether these are headers, in what anybody may have written into Redis."""
    return (
        isinstance(value, dict)
        and all(_is_pair(*pair) for pair in value.items())
        and len(to_json(value)) <= MAX_HEADERS_BYTES
    )


def _is_pair(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, str) and is_storable(key) and is_text(value)
