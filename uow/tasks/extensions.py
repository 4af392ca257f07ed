"""What users add to their worker beside task functions: `@lifespan`, `@middleware`, `@on`.

They are registered where task functions are, and found with them in ``WORKER_TASK_MODULES``.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, overload

from uow.errors import InvalidOptions
from uow.events.spine import Event
from uow.tasks.context import CallNext, ProcessContext
from uow.tasks.registry import Registry, default_registry
from uow.user_code import whereabouts

L = TypeVar("L", bound=Callable[[ProcessContext], AsyncIterator[Any]])
M = TypeVar("M", bound=Callable[[Any, CallNext], Awaitable[Any]])
Heard = TypeVar("Heard", bound=Callable[[Any], object])


@overload
def lifespan(function: L, /) -> L: ...


@overload
def lifespan(*, registry: Registry | None = None) -> Callable[[L], L]: ...


def lifespan(
    function: L | None = None, /, *, registry: Registry | None = None
) -> L | Callable[[L], L]:
    """Have something live as long as the worker process: an HTTP client, a pool, a model.

    ::

        @lifespan
        async def resources(ctx: ProcessContext):
            async with httpx.AsyncClient() as http:
                yield {"http": http}

    It is entered once per worker process before the first task is claimed, with ``ctx["db"]``,
    ``ctx["redis"]`` and ``ctx["settings"]``, and left after the last attempt has ended; several are
    entered in the order in which they were registered, and left in reverse. What it yields is in
    the ctx of each attempt. One that fails or takes longer than ``WORKER_CONNECT_TIMEOUT`` ends the
    start, with its place; what was entered is left.

    Args:
        function: An ``async def`` with one ``yield``, of a dict or of nothing.
        registry: Where it is registered; for tests.

    Raises:
        InvalidOptions: It is no asynchronous generator function, or does not take just the ctx.
    """

    def register(one: L) -> L:
        is_generator: bool = inspect.isasyncgenfunction(one)
        if not is_generator:
            raise InvalidOptions(
                f"@lifespan: {whereabouts(one)} is no async def with a yield: write async def "
                "resources(ctx): … yield {…}"
            )
        _refuse_unless_it_takes(one, "@lifespan", "ctx")
        (registry or default_registry).lifespans.append(one)
        return one

    return register if function is None else register(function)


@overload
def middleware(function: M, /) -> M: ...


@overload
def middleware(*, registry: Registry | None = None) -> Callable[[M], M]: ...


def middleware(
    function: M | None = None, /, *, registry: Registry | None = None
) -> M | Callable[[M], M]:
    """Have something happen around the function of each attempt.

    ::

        @middleware
        async def tenant(ctx: TaskContext, call_next: CallNext):
            with bound_contextvars(task=ctx["task"].name):
                return await call_next()

    It is called once per attempt, with the arguments validated and before the result is, inside the
    timeout; the first that was registered is the outermost. Sessions that it opens join the unit of
    work. What it returns is the task's result, what it raises the task's failure: it may replace
    the one and swallow the other. It calls `call_next` once, or not at all: then the function is
    not called.

    Args:
        function: An ``async def f(ctx, call_next)``.
        registry: Where it is registered; for tests.

    Raises:
        InvalidOptions: It is no coroutine function, or does not take the two.
    """

    def register(one: M) -> M:
        is_coroutine_function: bool = inspect.iscoroutinefunction(one)
        if not is_coroutine_function:
            raise InvalidOptions(
                f"@middleware: {whereabouts(one)} is no coroutine function: write async def "
                "f(ctx, call_next): return await call_next()"
            )
        _refuse_unless_it_takes(one, "@middleware", "ctx", "call_next")
        (registry or default_registry).middleware.append(one)
        return one

    return register if function is None else register(function)


def on(*kinds: type[Event], registry: Registry | None = None) -> Callable[[Heard], Heard]:
    """Have a function called with each event of these kinds (`uow.events`).

    It is called after the fact and on the event loop, so it must be quick: nothing waits for what
    it says, and everything waits until it returns. One that raises is logged once a minute and
    changes nothing.

    Args:
        *kinds: Such as `AttemptEnded`.
        registry: Where it is registered; for tests.

    Raises:
        InvalidOptions: One of them is no event, or the listener cannot be called with one.
    """
    wrong = [kind for kind in kinds if not _is_kind(kind)]
    if wrong or not kinds:
        said = repr(wrong[0]) if wrong else "nothing"
        raise InvalidOptions(
            f"@on: {said} is no event: name kinds of uow.events, as in @on(AttemptEnded)"
        )

    def register(listener: Heard) -> Heard:
        if inspect.iscoroutinefunction(listener):
            raise InvalidOptions(
                f"@on: {whereabouts(listener)} is an async def, and a listener is called and not "
                "awaited: write def, and begin an asyncio task or enqueue one of ours in it"
            )
        _refuse_unless_it_takes(listener, "@on", "event")
        (registry or default_registry).events.listen(listener, *kinds)
        return listener

    return register


def _is_kind(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Event) and kind is not Event


def _refuse_unless_it_takes(function: Callable[..., object], by: str, *names: str) -> None:
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise InvalidOptions(
            f"{by}: {whereabouts(function)} is called with ({', '.join(names)}), which it does not "
            f"take: {error}"
        ) from None
    except ValueError:  # of some builtins nothing is known
        return
