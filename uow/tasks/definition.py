"""`@task`: a plain function ``f(ctx, …)`` with a stable name, typed arguments and a policy."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from uow.errors import InvalidOptions
from uow.tasks.context import CpuContext, SyncTaskContext, TaskContext
from uow.tasks.fitness import place_of
from uow.tasks.function import DEFAULT_TIMEOUT, SyncTaskFunction, TaskFunction
from uow.tasks.options import Options
from uow.tasks.outcome import LONGEST_DELAY, Delay, seconds
from uow.tasks.registry import Registry, default_registry
from uow.tasks.retry import Backoff, RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=TaskContext)
S = TypeVar("S", bound=SyncTaskContext | CpuContext)


class TaskDecorator(Protocol):
    """What `task` returns.

    By the hint of ctx, and not by what is returned: a checker to which both would do, as it happens
    where there is an `Any`, would know nothing of the result. The others are for a ctx of a wider
    type, as `object`.
    """

    @overload
    def __call__(
        self, function: Callable[Concatenate[C, P], Awaitable[R]], /
    ) -> TaskFunction[P, R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[TaskContext, P], Awaitable[R]], /
    ) -> TaskFunction[P, R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[S, P], R], /) -> SyncTaskFunction[P, R]: ...

    @overload
    def __call__(
        self, function: Callable[Concatenate[SyncTaskContext, P], R], /
    ) -> SyncTaskFunction[P, R]: ...


def task(
    name: str,
    *,
    max_tries: int = 5,
    backoff: Backoff | None = None,
    final: tuple[type[Exception], ...] = (),
    timeout: Delay = DEFAULT_TIMEOUT,
    atomic: bool = True,
    durable: bool = True,
    process: bool = False,
    retention: Delay | None = None,
    queue: str | None = None,
    priority: int | None = None,
    registry: Registry | None = None,
) -> TaskDecorator:
    """Make a function a task function.

    An ``async def`` runs on the event loop, a ``def`` in a thread.

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
        process: ``True``: a ``def`` runs in a child process, for what needs a processor of its own.
            It has no session (`CpuContext`), and is killed at its timeout.
        retention: Seconds (or timedelta) that a settled task, its result and its errors are kept;
            without one the setting ``WORKER_RETENTION_DAYS`` decides.
        queue: Queue of its tasks, unless the caller says otherwise.
        priority: Priority of its tasks, unless the caller says otherwise.
        registry: Where it is registered; for tests.

    Raises:
        InvalidOptions: A value does not fit, the function is none that can be a task function, the
            name is taken, or values of a type hint could not be read back from JSON.
    """
    _refuse_without_name(name)
    policy = RetryPolicy(max_tries, backoff or Backoff(), final)
    defaults = Options.checked(name, {"queue": queue, "priority": priority})
    limit = seconds(timeout)
    kept = None if retention is None else seconds(retention)
    _check_definition(name, max_tries, limit, kept)

    def decorate(function: Callable[..., Any]) -> TaskFunction[Any, Any]:
        place = place_of(name, function, in_process=process)
        kind = TaskFunction if place == "loop" else SyncTaskFunction
        made: TaskFunction[Any, Any] = kind(
            name, function, policy, limit, atomic, durable, kept, defaults, place
        )
        made.signature.check_early()
        (registry or default_registry).add(made)
        return made

    return decorate  # type: ignore[return-value] # which kind it is, its function says


def _refuse_without_name(name: object) -> None:
    if not isinstance(name, str):  # a bare @task: it is the function
        called = getattr(name, "__name__", "confirm")
        raise InvalidOptions(
            f'@task needs a name that stays when the function is renamed: write @task("{called}"), '
            f'or with a prefix of your service @task("orders.{called}")'
        )


def _check_definition(name: str, max_tries: int, timeout: float, kept: float | None) -> None:
    if max_tries < 1:
        raise InvalidOptions(f"{name}: max_tries={max_tries}, but one try is the least")
    if not 0 < timeout < timedelta(days=7).total_seconds():
        raise InvalidOptions(f"{name}: timeout={timeout} is not between 0 s and 7 days")
    if kept is not None and not 0 <= kept <= LONGEST_DELAY:
        raise InvalidOptions(f"{name}: retention={kept} is not between 0 s and ten years")
