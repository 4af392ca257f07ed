"""Which connection a row is written on: the one that what its caller writes is on.

A session may have several: one that routes reads and writes (SQLAlchemy's "custom vertical
partitioning"), or has a bind per class. Its commit commits one after the other; a row on the wrong
one outlives the rollback of the work that it belongs to. So a session that could have more than one
is refused, unless the caller says which.
"""

from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)
from sqlalchemy.orm import Session, scoped_session

from uow.db.session import CheckedSession
from uow.errors import EnqueueError, InvalidOptions

Bind = AsyncEngine | Engine | type
"""An engine of the session's, or a mapped class whose rows are on it."""

Caller = AsyncSession | async_scoped_session[Any] | AsyncConnection
"""In whose transaction a row may be written."""

SyncCaller = Session | scoped_session[Any] | Connection
"""In whose transaction one may be without asyncio: `uow.sync`."""


def place_of(caller: Caller) -> AsyncSession | AsyncConnection:
    """The session or connection that a row is written through.

    Raises:
        EnqueueError: It is something else.
    """
    if isinstance(caller, async_scoped_session):
        session: AsyncSession = caller()
        return session
    if isinstance(caller, AsyncSession | AsyncConnection):
        return caller
    raise EnqueueError(_wrong(caller))


def sync_place_of(caller: SyncCaller) -> Session | Connection:
    """`place_of` without asyncio.

    Raises:
        EnqueueError: It is something else.
    """
    place = caller() if isinstance(caller, scoped_session) else caller
    if isinstance(place, Session | Connection):
        return place
    raise EnqueueError(_wrong_without_asyncio(caller))


def bind_of(session: Session, named: Bind | None) -> Engine | Connection:
    """What leads to the connection for a row (in SQLAlchemy's greenlet).

    Args:
        named: What the caller has said.

    Raises:
        InvalidOptions: The session may have several connections, and nobody has said which; or it
            has one, and somebody has named another.
    """
    match named:
        case None:
            _refuse_if_it_chooses(session)
            return _only_bind_of(session)
        case type():
            return session.get_bind(mapper=named)
        case _:
            engine = named.sync_engine if isinstance(named, AsyncEngine) else named
            return engine if _chooses(session) else _that_of(session, engine)


def refuse_another(connection: Connection, named: Bind | None) -> None:
    """Raise if the caller has named another engine than that of its own connection.

    Raises:
        InvalidOptions: It has.
    """
    engine = named.sync_engine if isinstance(named, AsyncEngine) else named
    if isinstance(engine, Engine) and engine.pool is not connection.engine.pool:
        raise InvalidOptions("bind= is another engine than that of this connection")


def connection_of(session: Session, bind: Engine | Connection, named: Bind | None) -> Connection:
    """The connection that `bind` leads to, its transaction begun (in SQLAlchemy's greenlet).

    Raises:
        InvalidOptions: The transaction has another one, too, and nobody has said which. Or the
            connection commits each statement by itself.
    """
    # Not session.connection(): that asks a get_bind of the user's, which need not know of `bind`.
    connection = session._connection_for_bind(bind)  # noqa: SLF001
    if named is None:
        _refuse_if_not_alone(session)
    refuse_autocommit(connection)
    return connection


def _wrong(caller: object) -> str:
    """What to say of something that is no session."""
    kind = type(caller).__name__
    if isinstance(caller, Session | scoped_session | Connection):
        return (
            f"{type(caller).__module__}.{kind} is a synchronous one: write "
            "uow.sync.enqueue(session, f, …), or use an AsyncSession"
        )
    if hasattr(caller, "enqueue"):  # a TaskClient, which knows this module
        return (
            f"{kind} is no session: write client.enqueue(f, …) for a transaction of its own, or "
            "f.enqueue(session, …) for yours"
        )
    return (
        f"{kind} is no session: f.enqueue(session, …) needs an AsyncSession, an "
        "async_scoped_session or an AsyncConnection, as the first argument"
    )


def _wrong_without_asyncio(caller: object) -> str:
    kind = type(caller).__name__
    if isinstance(caller, AsyncSession | async_scoped_session | AsyncConnection):
        return f"{kind} is asyncio's: write await f.enqueue(session, …)"
    if hasattr(caller, "execute") or hasattr(caller, "cursor"):  # a driver's own, or Django's
        return (
            f"{type(caller).__module__}.{kind} is none of SQLAlchemy's: write "
            "uow.sync.enqueue_with_cursor(cursor, f, …)"
        )
    return (
        f"{kind} is no session: uow.sync.enqueue(session, f, …) needs a Session, a scoped_session "
        "or a Connection, as the first argument"
    )


def _that_of(session: Session, engine: Engine) -> Engine | Connection:
    """The one way that `session` has; it may be a connection of `engine`'s."""
    bind = _only_bind_of(session)
    if bind.engine.pool is not engine.pool:
        raise InvalidOptions(
            "bind= is another engine than that of this session, which has only one"
        )
    return bind


def _refuse_if_it_chooses(session: Session) -> None:
    if _chooses(session):
        kind = type(session)
        if kind.get_bind is not Session.get_bind:
            raise InvalidOptions(
                _several(f"{kind.__name__}.get_bind chooses it for each statement")
            )
        raise InvalidOptions(_several("it was made with binds={…}"))


def _chooses(session: Session) -> bool:
    """Whether the connection may depend on what is said."""
    if isinstance(session, CheckedSession):
        return False
    return type(session).get_bind is not Session.get_bind or len(_binds_of(session)) > 1


def _only_bind_of(session: Session) -> Engine | Connection:
    if session.bind is None and not isinstance(session, CheckedSession):
        for bind in _binds_of(session):
            return bind
    return session.get_bind()


def _binds_of(session: Session) -> set[Engine | Connection]:
    known = vars(session)
    by_class = known.get("binds") or known.get("_Session__binds") or {}  # from 2.1 on; before
    return {bind for bind in (session.bind, *by_class.values()) if bind is not None}


def _refuse_if_not_alone(session: Session) -> None:
    transaction = session.get_transaction()
    assert transaction is not None  # noqa: S101 - it has just given a connection
    known = transaction._connections.values()  # noqa: SLF001 - no public way to count them
    if len({id(connection) for connection, *_ in known}) > 1:
        raise InvalidOptions(_several("statements of this transaction were given other binds"))


def refuse_autocommit(connection: Connection) -> None:
    """Raise if nothing that is written on `connection` can be rolled back.

    Raises:
        InvalidOptions: Nothing can.
    """
    # The driver's own word, which asks nobody: the level may be the engine's or the connection's.
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        raise InvalidOptions(
            "this connection commits each statement by itself (isolation_level "
            '"AUTOCOMMIT"), so the task would run whatever you roll back: use a session of another '
            "engine, or client.enqueue(…), which has a transaction of its own"
        )


def refuse_unless_postgres(bind: Engine | Connection) -> None:
    """Raise if `bind` leads to something else, as the SQLite of somebody's tests.

    Raises:
        EnqueueError: It does.
    """
    if bind.dialect.name != "postgresql":
        raise EnqueueError(
            f"this session leads to {bind.dialect.name}, and tasks are rows in Postgres: use a "
            "session of that database"
        )


def _several(why: str) -> str:
    return (
        f"this session may write through more than one connection ({why}), and only one of them "
        "can commit the task together with your changes: say which, f.options(bind=engine) or "
        "bind=YourMappedClass"
    )
