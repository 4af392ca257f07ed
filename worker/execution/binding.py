"""Which connection of a session a row is written on: the one that what the session writes is on.

A session may have several: one that routes reads and writes (SQLAlchemy's "custom vertical
partitioning"), or has a bind per class. Its commit commits one after the other; a row on the wrong
one outlives the rollback of the work that it belongs to. So a session that could have more than one
is refused, unless the caller says which.
"""

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from worker.db.session import CheckedSession
from worker.errors import InvalidOptions

Bind = AsyncEngine | Engine | type
"""An engine of the session's, or a mapped class whose rows are on it."""


def bind_of(session: Session, named: Bind | None) -> Engine | Connection:
    """What leads to the connection for a row (in SQLAlchemy's greenlet).

    Args:
        named: What the caller has said.

    Raises:
        InvalidOptions: The session may have several connections, and nobody has said which.
    """
    match named:
        case AsyncEngine():
            return named.sync_engine
        case Engine():
            return named
        case type():
            return session.get_bind(mapper=named)
    _refuse_if_it_chooses(session)
    return session.get_bind()


def connection_of(session: Session, bind: Engine | Connection, named: Bind | None) -> Connection:
    """The connection that `bind` leads to, its transaction begun (in SQLAlchemy's greenlet).

    Raises:
        InvalidOptions: The transaction has another one, too, and nobody has said which.
    """
    # Not session.connection(): that asks a get_bind of the user's, which need not know of `bind`.
    connection = session._connection_for_bind(bind)  # noqa: SLF001
    if named is None:
        _refuse_if_not_alone(session)
    return connection


def _refuse_if_it_chooses(session: Session) -> None:
    if isinstance(session, CheckedSession):
        return
    kind = type(session)
    if kind.get_bind is not Session.get_bind:
        raise InvalidOptions(_several(f"{kind.__name__}.get_bind chooses one for each statement"))
    if len({id(bind) for bind in _binds_of(session)}) > 1:
        raise InvalidOptions(_several("it was made with binds={…}"))


def _binds_of(session: Session) -> list[object]:
    known = vars(session)
    by_class = known.get("binds") or known.get("_Session__binds") or {}  # from 2.1 on; before
    return [bind for bind in (session.bind, *by_class.values()) if bind is not None]


def _refuse_if_not_alone(session: Session) -> None:
    transaction = session.get_transaction()
    assert transaction is not None  # noqa: S101 - it has just given a connection
    known = transaction._connections.values()  # noqa: SLF001 - no public way to count them
    if len({id(connection) for connection, *_ in known}) > 1:
        raise InvalidOptions(_several("statements of this transaction were given other binds"))


def _several(why: str) -> str:
    return (
        f"this session may write through more than one connection ({why}), and only one of them "
        "can commit the task together with your changes: say which, f.options(bind=engine) or "
        "bind=YourMappedClass"
    )
