"""`@task`: a plain ``async def f(ctx, …)`` with a stable name, typed arguments and a policy."""

import inspect
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Concatenate, ParamSpec, TypeVar

from uow.errors import InvalidOptions
from uow.tasks.context import TaskContext
from uow.tasks.first_parameter import is_context
from uow.tasks.function import DEFAULT_TIMEOUT, TaskFunction
from uow.tasks.options import Options
from uow.tasks.outcome import LONGEST_DELAY, Delay, seconds
from uow.tasks.registry import Registry, default_registry
from uow.tasks.retry import Backoff, RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")


def task(
    name: str,
    *,
    max_tries: int = 5,
    backoff: Backoff | None = None,
    final: tuple[type[Exception], ...] = (),
    timeout: Delay = DEFAULT_TIMEOUT,
    atomic: bool = True,
    durable: bool = True,
    retention: Delay | None = None,
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
        retention: Seconds (or timedelta) that a settled task, its result and its errors are kept;
            without one the setting ``WORKER_RETENTION_DAYS`` decides.
        queue: Queue of its tasks, unless the caller says otherwise.
        priority: Priority of its tasks, unless the caller says otherwise.
        registry: Where it is registered; for tests.

    Raises:
        InvalidOptions: A value does not fit, the function is not ``async def f(ctx, …)``, the
            name is taken, or values of a type hint could not be read back from JSON.
    """
    _refuse_without_name(name)
    policy = RetryPolicy(max_tries, backoff or Backoff(), final)
    defaults = Options.checked(name, {"queue": queue, "priority": priority})
    limit = seconds(timeout)
    kept = None if retention is None else seconds(retention)
    _check_definition(name, max_tries, limit, kept)

    def decorate(
        function: Callable[Concatenate[TaskContext, P], Awaitable[R]],
    ) -> TaskFunction[P, R]:
        _check_function(name, function)
        made = TaskFunction(name, function, policy, limit, atomic, durable, kept, defaults)
        made.signature.check_early()
        (registry or default_registry).add(made)
        return made

    return decorate


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


def _check_function(name: str, function: Callable[..., object]) -> None:
    if not inspect.iscoroutinefunction(function):
        raise InvalidOptions(f"{name}: {function!r} is not an async def")
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or not is_context(function, parameters[0]):
        raise InvalidOptions(f"{name}: {_without_ctx(function, parameters)}")
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for parameter in parameters[1:]:
        if parameter.kind not in named:
            raise InvalidOptions(f"{name}: parameter {parameter} has no name of its own")


def _without_ctx(function: Callable[..., object], parameters: list[inspect.Parameter]) -> str:
    """What is wrong with its first parameter, and what to write instead."""
    there = f"which {parameters[0]} is not" if parameters else "but there is none"
    others = [str(each) for each in parameters if each.name not in ("self", "cls", "ctx")]
    right = ", ".join(["ctx: TaskContext", *others])
    called = getattr(function, "__name__", "f")
    return f"the first parameter gets the context, {there}: write async def {called}({right})"
