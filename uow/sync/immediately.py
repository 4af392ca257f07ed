"""Runs a coroutine that waits for nothing: what it awaits is there already.

So what the async client asks and decides is written once. There is no event loop in this, and it
works in a thread that runs one.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def immediately(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, and what it raises."""
    try:
        work.send(None)
    except StopIteration as end:
        returned: T = end.value
        return returned
    work.close()
    raise AssertionError("it waits for something")
