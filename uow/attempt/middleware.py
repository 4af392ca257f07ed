"""Calls the users' middleware around the function of an attempt."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from uow.errors import WorkerError
from uow.tasks.context import Middleware
from uow.user_code import whereabouts

Inner = Callable[[], Awaitable[object]]


def surrounded(around: Sequence[Middleware], ctx: Any, function: Inner) -> Inner:
    """`function` with what is around it; the first is the outermost."""
    inner = function
    for middleware in reversed(around):
        inner = partial(middleware, ctx, Once(inner, middleware))
    return inner


class Once:
    """What a middleware gets as `call_next`: may be called once."""

    __slots__ = ("_inner", "_is_called", "_middleware")

    def __init__(self, inner: Inner, middleware: Middleware) -> None:
        self._inner = inner
        self._middleware = middleware
        self._is_called = False

    def __call__(self) -> Awaitable[object]:
        """Call what is inside.

        Raises:
            WorkerError: It was called before: a function runs once in an attempt.
        """
        if self._is_called:
            raise WorkerError(
                f"middleware {whereabouts(self._middleware)} has called call_next() twice: an "
                "attempt calls its function once; raise Retry for another attempt"
            )
        self._is_called = True
        return self._inner()
