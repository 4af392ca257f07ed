"""What a task function takes and gives, as JSON: checked against its type hints both ways."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from typing import Any, Generic, NotRequired, TypeVar, get_type_hints

from pydantic import ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails, PydanticSerializationError
from typing_extensions import TypedDict

from uow.errors import InvalidArguments, InvalidOptions, InvalidResult, ParametersDiffer
from uow.tasks.difference import Place
from uow.tasks.passage import JSON, CannotComeBack, Passage

R = TypeVar("R")

_typed_dict: Any = TypedDict  # type checkers only know it with literal fields

_OF_NAMES = {"extra_forbidden", "missing", "unexpected_keyword_argument"}
"""What pydantic calls a fault that is not in a value but in which names there are."""


@dataclass(frozen=True)
class TypedSignature(Generic[R]):
    """The parameters of `function` but the first (ctx), and its result."""

    name: str
    function: Callable[..., Any]

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name.

        Raises:
            InvalidArguments: One is given twice.
            ParametersDiffer: There are more than parameters.
        """
        if not args:
            return dict(kwargs)
        try:
            return dict(self._signature.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            kind = InvalidArguments if self._has(len(args), kwargs) else ParametersDiffer
            raise kind(f"{self.name}: {error}") from None

    def encode_arguments(self, arguments: Mapping[str, object]) -> bytes:
        """Check `arguments` against the type hints and write them as a JSON object.

        Raises:
            InvalidArguments: They do not fit, or the function would not get what was given.
            InvalidOptions: As `check`.
            ParametersDiffer: One is unknown, or one is missing.
        """
        try:
            return self._arguments.write(arguments)
        except (ValidationError, PydanticSerializationError, InvalidArguments) as error:
            raise self._misfit(error) from None

    def decode_arguments(self, written: str) -> dict[str, Any]:
        """Read arguments back, checked again: the code may have changed meanwhile.

        Raises:
            InvalidArguments: They do not fit any more.
            ParametersDiffer: One is unknown, or one is missing.
        """
        try:
            return dict(self._arguments.read(written))
        except ValidationError as error:
            raise self._misfit(error) from None

    def encode_result(self, result: object) -> bytes:
        """Check `result` against the return annotation and write it as JSON.

        Raises:
            InvalidResult: It does not fit, or would come back from a handle as something else.
        """
        try:
            return self._result.write(result)
        except (ValidationError, PydanticSerializationError, InvalidArguments) as error:
            raise InvalidResult(self._in_one_line(error, "the result")) from None

    def decode_result(self, written: bytes) -> R:
        """Read a result back into its annotated type.

        Raises:
            InvalidResult: It does not fit: the code has changed meanwhile.
        """
        try:
            return self._result.read(written)
        except ValidationError as error:
            raise InvalidResult(self._in_one_line(error, "the result")) from None

    def accepts(self, name: str, value: object) -> bool:
        """Whether `value` will do for the parameter `name`, if there is one."""
        if name not in self._signature.parameters:
            return False
        try:
            Passage(self._hints.get(name, Any)).write(value)
        except (ValidationError, PydanticSerializationError, InvalidArguments):
            return False
        return True

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters but ctx, in their order."""
        return list(self._signature.parameters)

    def hint(self, name: str) -> Any:
        """The type of a parameter, or of ``return``; `Any` if the function does not say.

        Raises:
            NameError: It names what is not there.
        """
        return self._hints.get(name, Any)

    def check(self) -> None:
        """Resolve the type hints now, so that a fault shows when the process starts.

        Raises:
            InvalidOptions: A name is not there, pydantic has no schema for a type, or no value of
                it can be read back from JSON.
        """
        try:
            _ = self._arguments, self._result
        except NameError as error:
            raise InvalidOptions(
                f"{self.name}: a type hint does not work: {error} (is it imported under "
                "`if TYPE_CHECKING:` alone?)"
            ) from error
        except PydanticUserError as error:
            raise InvalidOptions(f"{self.name}: a type hint does not work: {error}") from error

    def check_early(self) -> None:
        """As `check`, as far as it can be told: a type hint may name what is defined later.

        Raises:
            InvalidOptions: No value of a type can be read back from JSON.
        """
        try:
            _ = self._arguments, self._result
        except InvalidOptions:
            raise
        except Exception:  # whatever half a module leads to
            return

    @cached_property
    def _signature(self) -> inspect.Signature:
        signature = inspect.signature(self.function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return hints_of(self.function, (*self._signature.parameters, "return"))

    @cached_property
    def _arguments(self) -> Passage[dict[str, Any]]:
        fields: dict[str, Any] = {}
        for name, parameter in self._signature.parameters.items():
            hint = self._hints.get(name, Any)
            fields[name] = hint if parameter.default is parameter.empty else NotRequired[hint]
        arguments = _typed_dict("arguments", fields)
        arguments.__pydantic_config__ = JSON
        return self._passage(arguments)

    @cached_property
    def _result(self) -> Passage[R]:
        hint = self._hints.get("return", Any)
        # A function that does not say what it returns promises JSON, whatever came of it.
        return self._passage(hint, "the result", compared=hint is not Any)

    def _passage(self, hint: Any, whole: str = "", *, compared: bool = True) -> Passage[Any]:
        try:
            return Passage(hint, compared=compared)
        except CannotComeBack as error:
            raise InvalidOptions(self._in_one_line(error, whole)) from None

    def _has(self, positional: int, named: Mapping[str, object]) -> bool:
        """Whether there are parameters for so many positional arguments and for these names."""
        parameters = self._signature.parameters
        places = [one for one in parameters.values() if one.kind is not one.KEYWORD_ONLY]
        return positional <= len(places) and named.keys() <= parameters.keys()

    def _misfit(self, error: Exception) -> InvalidArguments:
        faults = _faults_of(error) if isinstance(error, ValidationError) else []
        differ = any(fault["type"] in _OF_NAMES for fault in faults)
        return (ParametersDiffer if differ else InvalidArguments)(self._in_one_line(error))

    def _in_one_line(self, error: Exception, whole: str = "") -> str:
        """The name, what is meant if it is not an argument, and the fault."""
        start = ": ".join(filter(None, (self.name, whole)))
        match error:
            case CannotComeBack():
                return f"{start}: {error}{self._annotation(error.place, whole)}"
            case ValidationError():
                return f"{start}: {'; '.join(map(_described, _faults_of(error)))}"
            case _:
                return f"{start}: {' '.join(str(error).split())}"

    def _annotation(self, place: Place, whole: str) -> str:
        name = "return" if whole else str(place[0]) if place else None
        if name is None:
            return ""  # a validator that does not say what it stumbled over
        hint = inspect.formatannotation(self._hints.get(name, Any))
        return f" (-> {hint})" if whole else f" ({name}: {hint})"


def hints_of(function: Callable[..., object], names: Iterable[str]) -> dict[str, Any]:
    """The type hints of `function` for `names` alone: others need not mean anything here.

    That of ctx often does not: linters move its import into ``if TYPE_CHECKING:``.

    Raises:
        NameError: What one of them names is not there.
    """

    def wanted() -> None: ...

    there = inspect.get_annotations(function)
    wanted.__annotations__ = {name: there[name] for name in names if name in there}
    # Names are looked up where `function` is.
    update_wrapper(wanted, function, assigned=("__type_params__",), updated=())
    return get_type_hints(wanted, include_extras=True)


def _faults_of(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_input=False, include_url=False)


def _described(fault: ErrorDetails) -> str:
    place = ".".join(str(part) for part in fault["loc"][1:])  # nowhere: the whole of a result
    message = fault["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
