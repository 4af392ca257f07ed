"""Which database errors are the infrastructure's and not the user's code's.

SQLSTATE decides (https://www.postgresql.org/docs/current/errcodes-appendix.html). Such an error
burns no try and settles no task: the attempt is handed back and runs again.
"""

import asyncpg
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.errors import ServerUnreachable, UnitOfWorkLost

PASSING: tuple[type[Exception], ...] = (
    DBAPIError,
    PoolTimeout,
    OSError,
    # The driver's own errors: while connecting, and of statements that are given to it directly.
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What our own statements raise while Postgres is away."""

_CLASSES = (
    "08",  # connection exception
)
_STATES = frozenset(
    {
        "25006",  # read-only transaction: a failover is going on
        "25P03",  # idle-in-transaction timeout
        "40001",  # serialization failure
        "40P01",  # deadlock
        "53300",  # too many connections
        "57P01",  # admin shutdown
        "57P02",  # crash shutdown
        "57P03",  # cannot connect now
    }
)


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of a database error, if it has one."""
    for candidate in (error, getattr(error, "orig", None)):
        state = getattr(candidate, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def is_infrastructure(error: BaseException) -> bool:
    """Whether a repetition may succeed without anybody changing the code or the data."""
    if isinstance(error, UnitOfWorkLost | ServerUnreachable | PoolTimeout):
        return True
    state = sqlstate(error)
    if state is not None:
        return state in _STATES or state.startswith(_CLASSES)
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        return isinstance(getattr(error.orig, "__cause__", None), asyncpg.InternalClientError)
    # The driver met the end of its connection, also in the middle of something. (It says
    # InterfaceError, too, of a value that it cannot encode.)
    ended = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)
    return ended and not isinstance(error, ValueError)
