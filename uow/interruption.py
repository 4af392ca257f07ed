"""Which asyncio tasks were stopped from outside: user code may make anything of it."""

import asyncio
from typing import Any
from weakref import WeakSet

_interrupted: "WeakSet[asyncio.Task[Any]]" = WeakSet()


def interrupt(runs: "asyncio.Task[Any]") -> None:
    """Stop an attempt from outside, and remember it: user code may make anything of it."""
    _interrupted.add(runs)
    runs.cancel()


def is_interrupted(runs: "asyncio.Task[Any] | None") -> bool:
    """Whether an attempt has been stopped from outside.

    That it is `cancelling` does not say so: before Python 3.13 it also is after an error in an
    `asyncio.TaskGroup` of its own.
    """
    return runs in _interrupted
