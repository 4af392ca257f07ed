"""Task functions by name, for a service that does not import their code."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from pydantic import Secret, SecretBytes, SecretStr, TypeAdapter

from uow.broker import codec
from uow.errors import EnqueueError, InvalidArguments, UnknownTask
from uow.tasks.enqueue import Enqueueable, Request
from uow.tasks.options import Options, OptionValues
from uow.tasks.registry import default_registry
from uow.tasks.type_schema import CONFIDENTIAL

MASK = b"**********"
"""What pydantic writes for a secret."""

_ANYTHING = TypeAdapter[object](object)  # makes dicts of models, and leaves secrets what they are


@dataclass(frozen=True)
class TaskRef(Enqueueable[..., Any]):
    """A task function by its name.

    Where the function is known to the process, the arguments are checked at once; otherwise the
    worker checks them. A task enqueued by an unknown name is always durable.
    """

    name: str
    chosen: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        Options.checked(self.name, {})

    def options(self, **values: Unpack[OptionValues]) -> "TaskRef":
        """This name with options.

        Raises:
            InvalidOptions: A name is unknown, a value does not fit, or two exclude each other.
        """
        return TaskRef(self.name, Options.checked(self.name, values))

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name.

        Raises:
            InvalidArguments: Some have no name, and here nobody knows the parameters.
        """
        if args:
            raise InvalidArguments(f"{self.name}: by name, arguments need their names, too")
        return dict(kwargs)

    def request_many(self, many: Iterable[dict[str, object]]) -> Request[Any]:
        """What enqueueing one task per element of `many` asks for.

        Raises:
            UnknownTask: The task modules are loaded in this process, and none has that name.
        """
        known = default_registry.get(self.name)
        if known is not None:
            return known.request_many(many, self.chosen.over(known.defaults))
        if default_registry.loaded:
            raise UnknownTask(default_registry.no_such(self.name))
        encoded = [self._encode(arguments) for arguments in many]
        return Request(self.name, encoded, self.chosen, codec.from_bytes)

    def _encode(self, arguments: dict[str, object]) -> bytes:
        written = codec.to_bytes(arguments)
        if MASK in written:
            for name, value in arguments.items():
                if _holds_secret(_ANYTHING.dump_python(value)):
                    raise InvalidArguments(f"{self.name}: {name}: {CONFIDENTIAL}")
        return written


def target_of(task: object) -> Enqueueable[Any, Any]:
    """What is to be enqueued: a name stands for the function of that name.

    Raises:
        EnqueueError: It is something else.
    """
    if isinstance(task, str):
        return TaskRef(task)
    if isinstance(task, Enqueueable):
        return task
    called = getattr(task, "__qualname__", type(task).__name__)
    raise EnqueueError(
        f"{called} is no task function: give one that @task has made, f.options(…) of it, or a name"
    )


def _holds_secret(value: object) -> bool:
    match value:
        case SecretStr() | SecretBytes() | Secret():
            return True
        case dict():
            return any(map(_holds_secret, value.values()))
        case list() | tuple() | set() | frozenset():
            return any(map(_holds_secret, value))
    return False
