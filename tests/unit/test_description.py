"""What is told of an error: never raises, never much, nothing that shows a row."""

from collections.abc import Callable

import asyncpg
import pytest

from uow.errors import TaskFailed
from uow.telemetry.description import (
    LEFT_OUT,
    MESSAGE_BYTES,
    TRACEBACK_BYTES,
    cut,
    describe,
    one_line,
)


class Unprintable(Exception):
    def __str__(self) -> str:
        return f"order {self.order_id}"  # type: ignore[attr-defined]


class NotText(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]


class Panics(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Text(str):
    def encode(self, *_: object) -> bytes:
        raise ValueError("mine")

    def replace(self, *_: object) -> str:
        raise ValueError("mine")


class OwnText(Exception):
    def __str__(self) -> str:
        return Text("mine")


class NoCause(Exception):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError("no cause")


class NoClass(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("no class")


class Notes(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError("no notes")


class Nameless(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("no name")


def _without_name() -> Exception:
    class WithoutName(Exception, metaclass=Nameless): ...

    return WithoutName("x")


def _bad_syntax() -> SyntaxError:
    error = SyntaxError("bad")
    error.lineno, error.offset, error.text = "x", object(), 7  # type: ignore[assignment]
    return error


def _itself() -> Exception:
    error = ValueError("its own context")
    error.__context__ = error.__cause__ = error
    return error


def _group() -> BaseException:
    return BaseExceptionGroup("g", [Unprintable(), NoClass("x"), GeneratorExit()])


def _told_wrongly() -> BaseException:
    return TaskFailed(7, None, b"x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [Unprintable, NotText, Panics, OwnText, NoCause, NoClass, Notes, KeyboardInterrupt,
     _without_name, _bad_syntax, _itself, _group, _told_wrongly],
)  # fmt: skip
def test_every_error_can_be_told(make: Callable[[], BaseException]) -> None:
    told = describe(make())
    assert all(type(text) is str for text in told.values())
    assert told["error_type"]
    assert told["traceback"]
    assert one_line(make())


def test_an_error_that_cannot_be_printed_says_why() -> None:
    assert "AttributeError" in describe(Unprintable())["message"]
    assert describe(NotText())["message"].startswith("(cannot be shown")
    assert describe(OwnText())["message"] == "mine"


@pytest.mark.parametrize(
    "error",
    [ValueError("a\x00b\ud800"), TaskFailed("a\x00b\ud800", "a\x00b\ud800", "a\x00b\ud800")],
    ids=["raised", "told"],
)
def test_whatever_is_told_can_be_stored(error: Exception) -> None:
    told = describe(error)
    assert told["message"] == "a\\x00b\\ud800"
    for text in told.values():
        assert "\x00" not in text
        text.encode()


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        return raised


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError("x" * 3_000_000 + "end"),
        lambda: ValueError("ü" * 3_000_000 + "end"),
        lambda: TaskFailed("E", "x" * 3_000_000 + "end", "x" * 3_000_000 + "end"),
        lambda: ExceptionGroup("x" * 3_000_000, [ValueError("y" * 10_000)] * 5000),
    ],
)
def test_a_long_error_keeps_its_head_and_its_tail(make: Callable[[], BaseException]) -> None:
    told = describe(_raised(make()))
    assert len(told["message"].encode()) <= MESSAGE_BYTES
    assert len(told["traceback"].encode()) <= TRACEBACK_BYTES
    assert "bytes left out" in told["message"]
    assert "bytes left out" in told["traceback"]


def test_a_cut_says_how_much_is_missing_and_cuts_no_more_than_it_must() -> None:
    assert cut("x" * 1000, 1000) == "x" * 1000
    text = cut("a" * 600 + "z" * 600, 1000)
    assert text.startswith("a" * 400)
    assert text.endswith("z" * 400)
    assert f"{1200 - 2 * 468:,} bytes left out" in text


def test_a_group_names_the_errors_in_it() -> None:
    inner = ExceptionGroup("inner", [KeyError("k")])
    group = ExceptionGroup("two parts", [ValueError("bad input"), inner])
    assert describe(group)["message"] == (
        "two parts (2 sub-exceptions): ValueError: bad input; KeyError: 'k'"
    )
    many = ExceptionGroup("many", [ValueError(str(n)) for n in range(25)])
    assert describe(many)["message"].endswith("ValueError: 9; and 15 more")


def _duplicate(detail: str) -> asyncpg.PostgresError:
    fields = {"C": "23505", "M": "duplicate key", "D": detail, "H": "another one?"}
    error = asyncpg.PostgresError.new(fields)
    assert isinstance(error, asyncpg.PostgresError)
    return error


def _around(error: Exception, make: Callable[[str], Exception]) -> Exception:
    try:
        try:
            raise error
        except Exception as raised:
            raise make(f"failed: {raised}\n[SQL: INSERT …]") from raised
    except Exception as outer:
        return outer


@pytest.mark.parametrize("detail", ["Key (email)=(ann@x) exists.", "row (1,\nann@x,\n\n) fails"])
@pytest.mark.parametrize("group", [False, True])
def test_the_detail_of_a_database_error_is_left_out_wherever_it_is_quoted(
    detail: str, group: bool
) -> None:
    error: Exception = _around(_duplicate(detail), RuntimeError)
    if group:
        error = _raised(ExceptionGroup("g", [error]))  # type: ignore[assignment]
    told = describe(error)
    for text in (told["message"], told["traceback"], one_line(error)):
        assert "ann@x" not in text
        assert "duplicate key" in text
        assert LEFT_OUT in text
    assert "[SQL: INSERT …]" in told["traceback"]
    assert "another one?" in told["message"]


def test_a_detail_whose_error_is_not_there_any_more_is_left_out_too() -> None:
    copied = ValueError("duplicate key\nDETAIL:  Key (email)=(ann@x) exists.\nHINT:  none")
    assert describe(copied)["message"] == f"duplicate key\n{LEFT_OUT}\nHINT:  none"


def test_one_line_is_one_line() -> None:
    error = ValueError("a\nFeb 30 ERROR forged\r\x1b[31m\u2028\x85b\tc")
    assert one_line(error) == (
        r"ValueError: a\nFeb 30 ERROR forged\r\x1b[31m\u2028\x85b" + "\tc"
    )  # fmt: skip
