"""A task function: a plain ``f(ctx, …)`` with a name, a policy and typed arguments."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, Unpack

from uow.errors import InvalidOptions
from uow.tasks.enqueue import Enqueueable, Request
from uow.tasks.options import Options, OptionValues
from uow.tasks.retry import RetryPolicy
from uow.tasks.signature import TypedSignature

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT = 300.0
"""Seconds, arq's own default."""


RunsIn = Literal["loop", "thread", "process"]
"""Where a function runs: on the event loop, in a thread of its own, or in a child process."""


class Scheduled(Protocol):
    """A schedule, as far as its task function knows it."""

    @property
    def name(self) -> str:
        """Unique in the app."""

    @property
    def task(self) -> "TaskFunction[Any, Any]":
        """What it asks for."""


@dataclass(frozen=True)
class TaskFunction(Enqueueable[P, R], Generic[P, R]):
    """A registered task function; calling it runs the plain function, as a unit test would.

    Attributes:
        name: Its stable name, in rows and payloads.
        function: The function: ``async def``, or ``def``.
        policy: What happens when it fails.
        timeout: Seconds one attempt may take.
        atomic: One transaction per attempt; otherwise one per session.
        durable: Has a row in Postgres; otherwise it lives in Redis alone.
        retention: Seconds that a settled task is kept; None: what `WORKER_RETENTION_DAYS` says.
        defaults: Options that each task of it has unless the caller says otherwise.
        runs_in: Where it runs.
        schedules: What `@cron` has given it.
    """

    name: str
    function: Callable[..., Any]
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: float = DEFAULT_TIMEOUT
    atomic: bool = True
    durable: bool = True
    retention: float | None = None
    defaults: Options = field(default_factory=Options)
    runs_in: RunsIn = "loop"
    schedules: list[Scheduled] = field(default_factory=list, compare=False, repr=False)

    def __call__(self, ctx: Any, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Call the plain function."""
        called: Awaitable[R] = self.function(ctx, *args, **kwargs)
        return called

    @cached_property
    def signature(self) -> TypedSignature[R]:
        """Its parameters and its result."""
        return TypedSignature(self.name, self.function)

    def options(self, **values: Unpack[OptionValues]) -> "ConfiguredTask[P, R]":
        """This function with options for the tasks that are enqueued through it.

        Raises:
            InvalidOptions: A name is unknown, a value does not fit, or two exclude each other.
        """
        options = Options.checked(self.name, values).over(self.defaults)
        self._refuse_if_rowless(options)
        return ConfiguredTask(self, options)

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name."""
        return self.signature.bind(args, kwargs)

    def request_many(
        self, many: Iterable[dict[str, object]], options: Options | None = None
    ) -> Request[R]:
        """What enqueueing one task per element of `many` asks for."""
        options = options or self.defaults
        self._refuse_if_rowless(options)
        encoded = [self.signature.encode_arguments(arguments) for arguments in many]
        return Request(self.name, encoded, options, self.signature.decode_result, self.durable)

    def _refuse_if_rowless(self, options: Options) -> None:
        if options.needs_row and not self.durable:
            raise InvalidOptions(
                f"{self.name} is durable=False, so it has no row that could keep "
                f"{' and '.join(options.needs_row)}"
            )


@dataclass(frozen=True)
class SyncTaskFunction(TaskFunction[P, R]):
    """A registered task function that is a plain ``def``."""

    def __call__(  # type: ignore[override] # there is nothing to await
        self, ctx: Any, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call the plain function."""
        called: R = self.function(ctx, *args, **kwargs)
        return called


@dataclass(frozen=True)
class ConfiguredTask(Enqueueable[P, R], Generic[P, R]):
    """A task function with options."""

    task: TaskFunction[P, R]
    chosen: Options

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name."""
        return self.task.bind(args, kwargs)

    def request_many(self, many: Iterable[dict[str, object]]) -> Request[R]:
        """What enqueueing one task per element of `many` asks for."""
        return self.task.request_many(many, self.chosen)
