"""Which errors are the infrastructure's and not the user's code's: a finding, by a list of causes.

Such an error burns no try and settles no task: the attempt is handed back and runs again. SQLSTATE
decides (https://www.postgresql.org/docs/current/errcodes-appendix.html); without one, a connection
that is really gone. What the driver says of a wrong use of it is the user's own. So are a lock that
was not to be waited for (55P03) and a statement that took too long (57014).

Most causes can also be brought on by one task alone, again and again; `hand_back` counts them. What
is nobody's own is on the list as everybody's.
"""

from dataclasses import dataclass
from enum import Enum

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from uow.causes import chain_of
from uow.errors import ServerUnreachable, UnitOfWorkLost
from uow.telemetry.description import leaves_of, on_one_line

PASSING: tuple[type[Exception], ...] = (
    DBAPIError,
    PoolTimeout,
    OSError,
    # The driver's own errors: while connecting, and of statements that are given to it directly.
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What a service goes on after: whatever its statements raise while Postgres is away, and more."""


class Kind(Enum):
    """Whom a cause hits, which tells what is done about it."""

    STATEMENT = "one statement, perhaps by its own doing"
    CONNECTION = "one connection: the server may be away, or one task loses it each time"
    OUTAGE = "everybody: the server is away"
    DISK = "everybody, though the server answers"


@dataclass(frozen=True, slots=True)
class Cause:
    """What of the infrastructure has failed.

    Attributes:
        name: Its SQLSTATE, the name of the driver's or our own class, or what it is.
    """

    name: str
    kind: Kind

    @property
    def may_be_its_own(self) -> bool:
        """Whether one task can bring it about, again and again, while everybody else is well."""
        return self.kind in (Kind.STATEMENT, Kind.CONNECTION)

    @property
    def is_away(self) -> bool:
        """Whether the server, or the way to it, seems to be gone, so that nothing can start."""
        return self.kind in (Kind.CONNECTION, Kind.OUTAGE)


STATES = {
    "08": Kind.CONNECTION,  # connection exception, the whole class
    "08P01": Kind.STATEMENT,  # protocol violation: "bind message supplies …", behind a pooler
    "25006": Kind.STATEMENT,  # read-only transaction: a failover is going on
    "25P03": Kind.CONNECTION,  # idle-in-transaction timeout
    "26000": Kind.STATEMENT,  # no such prepared statement: lost behind a pooler
    "28": Kind.OUTAGE,  # the login is refused, the whole class
    "40001": Kind.STATEMENT,  # serialization failure
    "40P01": Kind.STATEMENT,  # deadlock
    "42P05": Kind.STATEMENT,  # prepared statement exists: another's, behind a pooler
    "53000": Kind.STATEMENT,  # insufficient resources
    "53100": Kind.DISK,  # disk full
    "53200": Kind.STATEMENT,  # out of memory, or of locks
    "53300": Kind.OUTAGE,  # too many connections
    "53400": Kind.STATEMENT,  # configuration limit exceeded, as of temporary files
    "57P01": Kind.CONNECTION,  # admin shutdown, or this session alone was terminated
    "57P02": Kind.OUTAGE,  # crash shutdown
    "57P03": Kind.OUTAGE,  # cannot connect now
    "57P04": Kind.OUTAGE,  # database dropped
    "57P05": Kind.CONNECTION,  # idle session timeout
    "58000": Kind.STATEMENT,  # system error
    "58030": Kind.DISK,  # I/O error
}
"""The SQLSTATEs, and classes of two characters, that are the infrastructure's."""

PROXY_FULL = "the pooling proxy's pool is used up"

_SAYS_FULL = ("query_wait_timeout", "no more connections allowed")
"""PgBouncer's words, said as a protocol violation, of all things."""

OF_THE_MOMENT = frozenset({"25P04", "55P03", "57014"})
"""SQLSTATEs that say nothing about the data when a statement of our own meets them: a time limit,
or an operator's hand."""


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of a database error, if it has one."""
    for candidate in (error, getattr(error, "orig", None)):
        for name in ("sqlstate", "pgcode"):  # as asyncpg and psycopg call it, and as psycopg2 does
            state = getattr(candidate, name, None)
            if isinstance(state, str):
                return state
    return None


def is_infrastructure(error: BaseException) -> bool:
    """Whether a repetition may succeed without anybody changing the code or the data."""
    return cause_of(error) is not None


def refuse_full_proxy(error: BaseException) -> None:
    """Raise if a pooling proxy has refused us because it has no connection of Postgres's left.

    Raises:
        ServerUnreachable: It has; in words that say what to do.
    """
    cause = cause_of(error)
    if cause is not None and cause.name == PROXY_FULL:
        raise ServerUnreachable(
            f"the pooling proxy has no connection of Postgres's left ({on_one_line(str(error))}): "
            "its pool is too small for the fleet; docs/operations.md says how large it must be"
        ) from error


def says_away(error: BaseException) -> bool:
    """Whether `error`, of our own dealings with Postgres, says that it cannot be reached."""
    cause = cause_of(error)
    return isinstance(error, OSError) if cause is None else cause.is_away


def refuses(error: BaseException) -> bool:
    """Whether Postgres, or its driver, will never take what a statement of our own says."""
    if is_infrastructure(error):
        return False
    state = sqlstate(error)
    if state is not None:
        return state not in OF_THE_MOMENT
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def cause_of(error: BaseException) -> Cause | None:
    """What of the infrastructure has led to `error`; None: nothing has.

    Looks into groups, and along ``raise … from …``: who gives a lost connection another name does
    not make it the task's failure.
    """
    found = (_cause(link) for leaf in leaves_of(error) for link in chain_of(leaf, "__cause__"))
    return next((cause for cause in found if cause is not None), None)


def _cause(error: BaseException) -> Cause | None:
    match error:
        case UnitOfWorkLost(__cause__=None):  # else that is next in the chain, and tells
            return _connection(error)
        case ServerUnreachable() | TargetServerAttributeNotMatched():
            return Cause(type(error).__name__, Kind.OUTAGE)
        case PoolTimeout():
            return Cause("PoolTimeout", Kind.STATEMENT)
        case asyncpg.ConnectionDoesNotExistError(__cause__=asyncpg.PostgresError() as said):
            return _by_state(said) or _connection(error)  # the server's last words
        case asyncpg.PostgresError():
            return _by_state(error)
        case asyncpg.InternalClientError():  # the end of a connection in the middle of something
            return _connection(error)
        case asyncpg.InterfaceError() if "connection is closed" in str(error.args[:1]):
            return _connection(error)
        case DBAPIError():
            return _wrapped(error)
    return None


def _wrapped(error: DBAPIError) -> Cause | None:
    """What SQLAlchemy's own error says beyond the driver's, which is further down the chain."""
    driver = getattr(error.orig, "__cause__", None)
    if isinstance(driver, asyncpg.PostgresError | asyncpg.InternalClientError):
        return _cause(driver)
    return _by_state(error) or (_connection(error) if error.connection_invalidated else None)


def _by_state(error: BaseException) -> Cause | None:
    state = sqlstate(error) or ""
    if state == "08P01" and any(words in str(error) for words in _SAYS_FULL):
        return Cause(PROXY_FULL, Kind.OUTAGE)
    kind = STATES.get(state) or STATES.get(state[:2])
    if kind is not None:  # the driver's own conditions have a state, too, but a better name
        return Cause(type(error).__name__ if state == "08003" else state, kind)
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Cause(type(error).__name__, Kind.STATEMENT)
    return None


def _connection(error: BaseException) -> Cause:
    return Cause(type(error).__name__, Kind.CONNECTION)
