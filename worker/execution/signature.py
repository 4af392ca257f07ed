"""What a task function takes and gives, as JSON: checked against its type hints both ways."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NotRequired, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails, PydanticSerializationError
from typing_extensions import TypedDict

from worker.broker import codec
from worker.errors import InvalidArguments, InvalidOptions, InvalidResult

R = TypeVar("R")

_JSON = ConfigDict(
    extra="forbid", hide_input_in_errors=True, ser_json_inf_nan="strings", ser_json_bytes="base64",
    val_json_bytes="base64",
)  # fmt: skip

_typed_dict: Any = TypedDict  # type checkers only know it with literal fields


@dataclass(frozen=True)
class TypedSignature(Generic[R]):
    """The parameters of `function` but the first (ctx), and its result."""

    name: str
    function: Callable[..., Awaitable[R]]

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name.

        Raises:
            InvalidArguments: There are more than parameters, or one is given twice.
        """
        if not args:
            return dict(kwargs)
        try:
            return dict(self._signature.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            raise InvalidArguments(f"{self.name}: {error}") from None

    def encode_arguments(self, arguments: Mapping[str, object]) -> bytes:
        """Check `arguments` against the type hints and write them as a JSON object."""
        try:
            checked = self._arguments.validate_python((arguments,))
            return codec.refuse_unstorable(self._arguments.dump_json(checked)[1:-1])
        except (ValidationError, PydanticSerializationError, InvalidArguments) as error:
            raise InvalidArguments(f"{self.name}: {_in_one_line(error)}") from None

    def decode_arguments(self, written: str) -> dict[str, Any]:
        """Read arguments back, checked again: the code may have changed meanwhile."""
        try:
            return dict(self._arguments.validate_json(f"[{written}]")[0])
        except ValidationError as error:
            raise InvalidArguments(f"{self.name}: {_in_one_line(error)}") from None

    def encode_result(self, result: object) -> bytes:
        """Check `result` against the return annotation and write it as JSON."""
        try:
            checked = self._result.validate_python((result,))
            return codec.refuse_unstorable(self._result.dump_json(checked)[1:-1])
        except (ValidationError, PydanticSerializationError, InvalidArguments) as error:
            raise InvalidResult(f"{self.name}: the result: {_in_one_line(error)}") from None

    def decode_result(self, written: bytes) -> R:
        """Read a result back into its annotated type."""
        return self._result.validate_json(b"[%b]" % written)[0]

    def check(self) -> None:
        """Resolve the type hints now, so that a fault shows when the process starts.

        Raises:
            InvalidOptions: A name is not there, or pydantic has no schema for a type.
        """
        try:
            _ = self._arguments, self._result
        except (NameError, PydanticUserError) as error:
            raise InvalidOptions(f"{self.name}: a type hint does not work: {error}") from error

    @cached_property
    def _signature(self) -> inspect.Signature:
        signature = inspect.signature(self.function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.function, include_extras=True)

    # Both adapters are for a tuple of one, because pydantic takes the rules for bytes and infinity
    # from the outermost type only, and will not be told them for a TypedDict or a model.

    @cached_property
    def _arguments(self) -> TypeAdapter[Any]:
        fields: dict[str, Any] = {}
        for name, parameter in self._signature.parameters.items():
            hint = self._hints.get(name, Any)
            fields[name] = hint if parameter.default is parameter.empty else NotRequired[hint]
        arguments = _typed_dict("arguments", fields)
        arguments.__pydantic_config__ = _JSON
        return TypeAdapter(tuple[arguments], config=_JSON)  # type: ignore[valid-type]

    @cached_property
    def _result(self) -> TypeAdapter[tuple[R]]:
        hint: Any = tuple[self._hints.get("return", Any)]  # type: ignore[misc]
        return TypeAdapter(hint, config=_JSON)


def _in_one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False)
        return "; ".join(map(_described, faults))
    return " ".join(str(error).split())


def _described(fault: ErrorDetails) -> str:
    place = ".".join(str(part) for part in fault["loc"][1:])  # nowhere: the whole of a result
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
