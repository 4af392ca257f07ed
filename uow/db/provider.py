"""Lets one method be both ``async with db.get_session()`` and ``Depends(db.get_session)``.

FastAPI drives an async *generator*; everything else wants a context manager. Written twice, the
two drift apart; so `session_provider` turns an async generator function into a callable that looks
like the generator function to FastAPI and returns an object that is both.
"""

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, _AsyncGeneratorContextManager
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")


class _Provided(_AsyncGeneratorContextManager[T]):
    """An async context manager that is the async generator it came from, too."""

    def __enter__(self) -> NoReturn:
        raise TypeError(
            'this session is for an event loop: write `async with ctx["db"].get_session() as '
            "session` (outside of a task `async with db.get_session()`); or make the task function "
            "a def"
        )

    def __exit__(self, *_: object) -> None:
        """Never reached."""

    def __aiter__(self) -> "_Provided[T]":
        return self

    def __anext__(self) -> Any:
        return self.gen.__anext__()

    def asend(self, value: Any) -> Any:
        return self.gen.asend(value)

    def athrow(self, *error: Any) -> Any:
        return self.gen.athrow(*error)

    def aclose(self) -> Any:
        return self.gen.aclose()


def session_provider(
    function: Callable[Concatenate[S, P], AsyncGenerator[T, None]],
) -> Callable[Concatenate[S, P], AbstractAsyncContextManager[T]]:
    """Decorate an async generator method so that it serves both uses.

    FastAPI (from 0.123.5 on) looks through `functools.wraps` and finds the generator function.
    """

    @functools.wraps(function)
    def provide(self: S, /, *args: P.args, **kwargs: P.kwargs) -> _Provided[T]:
        return _Provided(function, (self, *args), kwargs)

    return provide
