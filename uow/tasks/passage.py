"""A type's way into JSON and back: what comes back equals what was given, or nothing is written."""

from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from uow.broker import codec
from uow.errors import InvalidArguments
from uow.tasks.difference import Fault, Place, difference
from uow.tasks.type_schema import faults, is_plain

T = TypeVar("T")

JSON = ConfigDict(
    extra="forbid", hide_input_in_errors=True, ser_json_inf_nan="strings", ser_json_bytes="base64",
    val_json_bytes="base64",
)  # fmt: skip

LONGEST_NUMBER = 4300
"""Digits that are read, by Python as by pydantic; more are written."""


class CannotComeBack(InvalidArguments):
    """A value, or every value of a type, would come back from JSON as something else.

    Args:
        fault: Where and why.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.place: Place = fault.place


class Passage(Generic[T]):
    """Writes values of one type and reads them back.

    They are written by the names of their fields, not by aliases: every field has one name that
    serves both ways. What others have written by aliases is read, too.

    Args:
        hint: The type.
        compared: Whether what was written is read back at once and compared with what was given.
            Types of which every value surely comes back are spared that.

    Raises:
        CannotComeBack: No value of the type ever would.
    """

    def __init__(self, hint: Any, *, compared: bool = True) -> None:
        # A tuple of one, because pydantic takes the rules for bytes and infinity from the
        # outermost type only, and will not be told them for a TypedDict or a model.
        adapter: TypeAdapter[tuple[T]] = TypeAdapter(tuple[hint], config=JSON)
        for fault in faults(adapter.core_schema):
            raise CannotComeBack(fault)
        self._compared = compared and not is_plain(adapter.core_schema)
        self._reader, self._writer = adapter.validator, adapter.serializer

    def write(self, value: object) -> bytes:
        """Check `value` against the type and write it.

        Raises:
            ValidationError: It is not of the type.
            PydanticSerializationError: It cannot be written.
            InvalidArguments: Postgres could not store it, or it would come back changed.
        """
        checked = self._reader.validate_python((value,), by_alias=True, by_name=True)
        written = self._written(checked)
        if self._compared:
            return self._inverse(written, checked, value)
        if len(written) > LONGEST_NUMBER:
            self.read(written)
        return written

    def read(self, written: bytes | str) -> T:
        """Read a value back, checked again: the code may have changed meanwhile.

        Raises:
            ValidationError: It is not of the type.
        """
        whole = f"[{written}]" if isinstance(written, str) else b"[%b]" % written
        read: tuple[T] = self._reader.validate_json(whole, by_alias=True, by_name=True)
        return read[0]

    def _written(self, values: tuple[object]) -> bytes:
        # Whatever pydantic would warn of is found when it is read back.
        written = self._writer.to_json(values, by_alias=False, round_trip=True, warnings=False)
        return codec.refuse_unstorable(written[1:-1])

    def _inverse(self, written: bytes, checked: tuple[T], given: object) -> bytes:
        """`written`, or something else of which `checked` comes back."""
        fault = self._fault(written, checked)
        if fault is None:
            return written
        # A validator that changes the value each time: what was given meets it once, when read.
        try:
            as_given = self._written((given,))
        except (PydanticSerializationError, InvalidArguments):
            raise CannotComeBack(fault) from None
        if self._fault(as_given, checked) is not None:
            raise CannotComeBack(fault)
        return as_given

    def _fault(self, written: bytes, checked: tuple[T]) -> Fault | None:
        try:
            return difference(checked[0], self.read(written))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            return Fault(first["loc"][1:], f"cannot be read back from JSON: {first['msg']}")
        except Exception as error:  # a validator that only knows what it was given in Python
            return Fault((), f"cannot be read back from JSON: {type(error).__name__}")
