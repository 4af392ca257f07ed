"""`@task`: a plain ``async def f(ctx, …)`` with a stable name, typed arguments and a policy."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import (
    Any,
    Concatenate,
    Generic,
    NotRequired,
    ParamSpec,
    TypeVar,
    Unpack,
    get_type_hints,
)

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypedDict

from worker.broker import codec
from worker.errors import InvalidArguments, InvalidOptions, InvalidResult, UnknownTask
from worker.execution.context import TaskContext
from worker.execution.enqueue import Request, enqueue_in, enqueue_many_in
from worker.execution.handle import TaskHandle
from worker.execution.options import Options, OptionValues
from worker.execution.outcome import Delay, seconds
from worker.execution.registry import Registry, default_registry
from worker.execution.retry import Backoff, RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT = 300.0
"""Seconds, arq's own default."""

_JSON = ConfigDict(
    extra="forbid", hide_input_in_errors=True, ser_json_inf_nan="strings", ser_json_bytes="base64",
    val_json_bytes="base64",
)  # fmt: skip


_typed_dict: Any = TypedDict  # type checkers only know it with literal fields


@dataclass(frozen=True)
class TaskFunction(Generic[P, R]):
    """A registered task function; calling it runs the plain function, as a unit test would.

    Attributes:
        name: Its stable name, in rows and payloads.
        function: The function.
        policy: What happens when it fails.
        timeout: Seconds one attempt may take.
        atomic: One transaction per attempt; otherwise one per session.
        durable: Has a row in Postgres; otherwise it lives in Redis alone.
        defaults: Options that each task of it has unless the caller says otherwise.
    """

    name: str
    function: Callable[Concatenate[TaskContext, P], Awaitable[R]]
    policy: RetryPolicy = RetryPolicy()
    timeout: float = DEFAULT_TIMEOUT
    atomic: bool = True
    durable: bool = True
    defaults: Options = field(default_factory=Options)

    def __call__(self, ctx: TaskContext, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        return self.function(ctx, *args, **kwargs)

    async def enqueue(
        self, session: AsyncSession, /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]:
        """Write a task in the caller's transaction: it runs if that commits.

        Raises:
            InvalidArguments: The arguments do not fit the function's parameters.
            PayloadTooLarge: They are too large.
            InvalidOptions: The task is `durable=False`.
        """
        return await enqueue_in(session, self.request_many([self.bind(args, kwargs)]))

    async def enqueue_many(
        self, session: AsyncSession, many: Iterable[Mapping[str, object]], /
    ) -> list[TaskHandle[R]]:
        """Write one task per element of `many` (arguments by name), all in one statement.

        Raises:
            EnqueueError: As `enqueue`; then nothing was written.
        """
        return await enqueue_many_in(session, self.request_many([dict(one) for one in many]))

    def options(self, **values: Unpack[OptionValues]) -> "ConfiguredTask[P, R]":
        """This function with options for the tasks that are enqueued through it.

        Raises:
            InvalidOptions: A name is unknown, a value does not fit, or two exclude each other.
        """
        options = Options.checked(self.name, values).over(self.defaults)
        self._refuse_without_row(options)
        return ConfiguredTask(self, options)

    def request_many(
        self, many: list[dict[str, object]], options: Options | None = None
    ) -> Request[R]:
        """What enqueueing one task per element of `many` asks for."""
        options = options or self.defaults
        self._refuse_without_row(options)
        encoded = [self.encode_arguments(arguments) for arguments in many]
        return Request(self.name, encoded, options, self.decode_result, self.durable)

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name."""
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
            return codec.refuse_nul(self._arguments.dump_json(checked)[1:-1])
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
            return codec.refuse_nul(self._result.dump_json(checked)[1:-1])
        except (ValidationError, PydanticSerializationError, InvalidArguments) as error:
            raise InvalidResult(f"{self.name}: the result {_in_one_line(error)}") from None

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

    def _refuse_without_row(self, options: Options) -> None:
        if options.needs_row and not self.durable:
            raise InvalidOptions(
                f"{self.name} is durable=False, so it has no row that could keep "
                f"{' and '.join(options.needs_row)}"
            )

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


@dataclass(frozen=True)
class ConfiguredTask(Generic[P, R]):
    """A task function with options."""

    task: TaskFunction[P, R]
    chosen: Options

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name."""
        return self.task.bind(args, kwargs)

    def request_many(self, many: list[dict[str, object]]) -> Request[R]:
        """What enqueueing one task per element of `many` asks for."""
        return self.task.request_many(many, self.chosen)

    async def enqueue(
        self, session: AsyncSession, /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]:
        """As `TaskFunction.enqueue`, with the options."""
        return await enqueue_in(session, self.request_many([self.bind(args, kwargs)]))

    async def enqueue_many(
        self, session: AsyncSession, many: Iterable[Mapping[str, object]], /
    ) -> list[TaskHandle[R]]:
        """As `TaskFunction.enqueue_many`, with the options.

        Raises:
            InvalidOptions: There is a unique key and more than one task.
        """
        return await enqueue_many_in(session, self.request_many([dict(one) for one in many]))


@dataclass(frozen=True)
class TaskRef:
    """A task function by its name, for a service that does not import its code.

    Where the function is known to the process, the arguments are checked at once; otherwise the
    worker checks them. A task enqueued by an unknown name is always durable.
    """

    name: str
    chosen: Options = Options()

    def options(self, **values: Unpack[OptionValues]) -> "TaskRef":
        """This name with options."""
        return TaskRef(self.name, Options.checked(self.name, values))

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name.

        Raises:
            InvalidArguments: Some have no name, and here nobody knows the parameters.
        """
        if args:
            raise InvalidArguments(f"{self.name}: by name, arguments need their names, too")
        return dict(kwargs)

    async def enqueue(self, session: AsyncSession, /, **arguments: object) -> TaskHandle[Any]:
        """As `TaskFunction.enqueue`.

        Raises:
            UnknownTask: The task modules are loaded in this process, and none has that name.
        """
        return await enqueue_in(session, self.request_many([arguments]))

    async def enqueue_many(
        self, session: AsyncSession, many: Iterable[Mapping[str, object]], /
    ) -> list[TaskHandle[Any]]:
        """As `TaskFunction.enqueue_many`."""
        return await enqueue_many_in(session, self.request_many([dict(one) for one in many]))

    def request_many(self, many: list[dict[str, object]]) -> Request[Any]:
        """What enqueueing one task per element of `many` asks for."""
        known = default_registry.get(self.name)
        if known is not None:
            return known.request_many(many, self.chosen.over(known.defaults))
        if default_registry.loaded:
            raise UnknownTask(default_registry.no_such(self.name))
        encoded = [codec.to_bytes(arguments) for arguments in many]
        return Request(self.name, encoded, self.chosen, codec.from_bytes)


def task(
    name: str,
    *,
    max_tries: int = 5,
    backoff: Backoff | None = None,
    final: tuple[type[Exception], ...] = (),
    timeout: Delay = DEFAULT_TIMEOUT,
    atomic: bool = True,
    durable: bool = True,
    queue: str | None = None,
    priority: int | None = None,
    registry: Registry | None = None,
) -> Callable[[Callable[Concatenate[TaskContext, P], Awaitable[R]]], TaskFunction[P, R]]:
    """Make a function a task function.

    Args:
        name: Stable and explicit, for example ``"users.send_welcome"``: renaming the function must
            not orphan queued tasks.
        max_tries: Failures of user code after which the task fails for good.
        backoff: Pauses between tries.
        final: Exceptions that no repetition can mend; the task fails at once.
        timeout: Seconds (or timedelta) that one attempt may take.
        atomic: All sessions of an attempt are one transaction, committed with the completion.
            ``False``: each session commits for itself, so blocks may repeat on a retry.
        durable: ``False``: no row; the task lives in Redis alone and runs at least once.
        queue: Queue of its tasks, unless the caller says otherwise.
        priority: Priority of its tasks, unless the caller says otherwise.
        registry: Where it is registered; for tests.

    Raises:
        InvalidOptions: A value does not fit, the function is not ``async def f(ctx, …)``, or the
            name is taken.
    """
    policy = RetryPolicy(max_tries, backoff or Backoff(), final)
    defaults = Options.checked(name, {"queue": queue, "priority": priority})
    limit = seconds(timeout)
    _check_definition(name, max_tries, limit)

    def decorate(
        function: Callable[Concatenate[TaskContext, P], Awaitable[R]],
    ) -> TaskFunction[P, R]:
        _check_function(name, function)
        made = TaskFunction(name, function, policy, limit, atomic, durable, defaults)
        (registry or default_registry).add(made)
        return made

    return decorate


def _check_definition(name: str, max_tries: int, timeout: float) -> None:
    if not name or "\x00" in name:
        raise InvalidOptions(f"{name!r} is not a name for a task function")
    if max_tries < 1:
        raise InvalidOptions(f"{name}: max_tries={max_tries}, but one try is the least")
    if not 0 < timeout < timedelta(days=7).total_seconds():
        raise InvalidOptions(f"{name}: timeout={timeout} is not between 0 s and 7 days")


def _check_function(name: str, function: Callable[..., object]) -> None:
    if not inspect.iscoroutinefunction(function):
        raise InvalidOptions(f"{name}: {function!r} is not an async def")
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise InvalidOptions(f"{name}: the first parameter must be ctx")
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in parameters[1:]:
        if parameter.kind not in named:
            raise InvalidOptions(f"{name}: parameter {parameter} has no name of its own")


def _in_one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_url=False)
        return "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'][1:]) or 'value'}: {fault['msg']}"
            for fault in faults
        )
    return " ".join(str(error).split())
