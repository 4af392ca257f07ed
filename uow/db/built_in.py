"""What Postgres says of its own types, such as ``uuid[]``: it is asked once in a process.

asyncpg asks on each connection that meets one, with a query that takes Postgres longer than all
else that a new connection needs.
"""

from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any

FIRST_OF_USERS = 16_384
"""Below are the ids of what is built in: they are the same in every database, and stay."""

_known: dict[frozenset[int], tuple[Any, Any]] = {}

_UNSAID: Any = SimpleNamespace(name="nothing was said")
"""In place of the statement that has asked: no other statement has lost its place by it."""


async def introspected(
    types: frozenset[int],
    ask: Callable[[Iterable[int], float | None], Awaitable[tuple[Any, Any]]],
    timeout: float | None,
) -> tuple[Any, Any]:
    """What `ask` returns for these types, without asking if that is known.

    Types of users may be another thing in the next database, or become one.
    """
    if types in _known:
        return _known[types]
    found, statement = await ask(types, timeout)
    if all(type_ < FIRST_OF_USERS for type_ in types):
        _known[types] = found, _UNSAID
    return found, statement
