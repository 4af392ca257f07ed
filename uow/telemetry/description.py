"""What is told of an error: its type, its message, its traceback. Never raises, and never much.

User code raises what it likes: errors that cannot be printed, errors of thirty megabytes, errors
that quote a row. What is made of them here goes into the row, the log and the answers of the API:
cut, head and tail kept; in characters that Postgres can store; without local variables and without
Postgres's DETAIL, which shows the values of rows.
"""

import re
import traceback
from collections.abc import Callable, Iterator
from itertools import islice

from uow.errors import TaskFailed

MESSAGE_BYTES = 8_192
"""The longest message, in UTF-8."""

TRACEBACK_BYTES = 65_536
"""The longest traceback, in UTF-8."""

TYPE_BYTES = 256

LEFT_OUT = "DETAIL:  (left out: it shows values of rows)"

MOST_ERRORS = 1_000
"""Errors of a chain or a group that are looked at."""

NAMED_LEAVES = 10
"""Errors of a group that its message names."""

LEAF_BYTES = 512
"""The longest message of each of them."""

_ROOM = 64
"""Bytes that the note of a cut may take."""

_CONTROL = {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) != "\t"
} | {0x0A: "\\n", 0x0D: "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What could end a line of a log, or steer the terminal that shows it."""


def describe(error: BaseException) -> dict[str, str]:
    """`error_type`, `message` and `traceback` of an error, fit for Postgres."""
    return {
        "error_type": type_of(error),
        "message": message_of(error),
        "traceback": trace_of(error),
    }


def type_of(error: BaseException) -> str:
    """The name of an error's class."""
    return cut(_text(lambda: _type(error)), TYPE_BYTES)


def message_of(error: BaseException) -> str:
    """What an error says; a group: also what the errors in it say."""
    return cut(_text(lambda: _message(error)), MESSAGE_BYTES)


def trace_of(error: BaseException) -> str:
    """An error's traceback; of a `TaskFailed`, the one that it was given."""
    return cut(
        _text(lambda: _trace(error), lambda: "".join(traceback.format_tb(error.__traceback__))),
        TRACEBACK_BYTES,
    )


def leaves_of(error: BaseException) -> list[BaseException]:
    """The errors of a group and of the groups in it; of any other error itself."""
    return list(islice(_leaves(error), MOST_ERRORS))


def one_line(error: BaseException) -> str:
    """An error for a line of the log: type and message."""
    return on_one_line(f"{type_of(error)}: {message_of(error)}")


def shown(value: object) -> str:
    """Any value as a text of 8 KiB at most; an error as what it says."""
    if isinstance(value, BaseException):
        return message_of(value)
    return cut(_text(lambda: str(value)), MESSAGE_BYTES)


def on_one_line(text: str) -> str:
    """`text` with its line ends and control characters written out."""
    if text.isprintable():  # as nearly every line is
        return text
    return _text(lambda: text).translate(_CONTROL)


def without_details(text: str, error: BaseException) -> str:
    """`text` without the DETAIL of the database errors that `error` comes from, or holds."""
    if "DETAIL:" not in text:
        return text
    for detail in details_of(error):
        # In the traceback of a group each line begins with a margin.
        lines = r"\n[ |]*".join(re.escape(line) for line in detail.split("\n"))
        text = re.sub(rf"DETAIL: +{lines}", LEFT_OUT, text)
    return re.sub(r"DETAIL:(?! +\(left out).*", LEFT_OUT, text)


def details_of(error: BaseException) -> Iterator[str]:
    """What databases say of the values of rows, in the errors that `error` comes from, or holds."""
    for one in _related(error):
        detail = _attribute(one, "detail")
        if isinstance(detail, str) and detail:
            yield detail


def cut(text: str, limit: int) -> str:
    """`text`, if it is longer than `limit` bytes its head and its tail, and how much is missing."""
    if len(text) <= limit // 4:
        return text
    written = text.encode("utf-8", "backslashreplace")
    if len(written) <= limit:
        return text
    half = (limit - _ROOM) // 2
    head, tail = (part.decode("utf-8", "ignore") for part in (written[:half], written[-half:]))
    return f"{head}\n… {len(written) - 2 * half:,} bytes left out …\n{tail}"


def _type(error: BaseException) -> str:
    return error.error_type if isinstance(error, TaskFailed) else type(error).__name__


def _message(error: BaseException) -> str:
    if isinstance(error, TaskFailed):
        return error.message
    if not isinstance(error, BaseExceptionGroup):
        return _said(error)
    leaves = leaves_of(error)
    named = [f"{type_of(one)}: {cut(_said(one), LEAF_BYTES)}" for one in leaves[:NAMED_LEAVES]]
    more = [f"and {len(leaves) - len(named)} more"] if len(leaves) > len(named) else []
    return f"{_said(error)}: {'; '.join([*named, *more])}"


def _trace(error: BaseException) -> str:
    if isinstance(error, TaskFailed) and error.traceback:
        return error.traceback
    return without_details("".join(traceback.format_exception(error)), error)


def _said(error: BaseException) -> str:
    return without_details(_text(lambda: str(error)), error)


def _text(*ways: Callable[[], object]) -> str:
    """What the first of `ways` that works returns, as text that can be stored."""
    failures: list[str] = []
    for way in ways:
        try:
            said = way()
            if not isinstance(said, str):
                said = f"({type(said).__name__} in place of a text)"
            written = str.encode(said, "utf-8", "backslashreplace").decode()
            return "".join([written.replace("\x00", "\\x00"), *failures])
        except BaseException as fault:
            failures.append(f"(cannot be shown: {type.__repr__(type(fault))})")
    return failures[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(one.exceptions))
        else:
            yield one


def _related(error: BaseException) -> Iterator[BaseException]:
    """`error`, the errors in it and those that it comes from."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < MOST_ERRORS:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
        further = (_attribute(one, name) for name in ("__cause__", "__context__", "orig"))
        waiting.extend(more for more in further if isinstance(more, BaseException))


def _attribute(error: BaseException, name: str) -> object:
    try:
        return getattr(error, name, None)
    except BaseException:
        return None
