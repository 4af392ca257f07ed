"""Why Postgres has refused an enqueue, where it is not the tasks' fault: no tables, no right."""

import logging

from sqlalchemy import Engine

from uow.db import rights
from uow.db.failures import PASSING, sqlstate
from uow.db.whereabouts import SETS, not_there
from uow.errors import SchemaError
from uow.tasks.outlets import Outlet

logger = logging.getLogger(__name__)

UNDEFINED_TABLE = "42P01"
"""SQLSTATE: there is no such table."""


def refusal_of(error: BaseException, engine: Engine, outlet: Outlet) -> SchemaError | None:
    """What `error` means, in one line with what is to be done (in SQLAlchemy's greenlet).

    Args:
        error: Of the statement that writes the rows.
        engine: Where it was run.

    Returns:
        None if it means something else, a trigger of somebody's for example.
    """
    state = sqlstate(error)
    if state == rights.REFUSED:
        return rights.to_enqueue(outlet.schema, engine.url.username, error)
    if state == UNDEFINED_TABLE:
        return _no_tables(engine, outlet)
    return None


def _no_tables(engine: Engine, outlet: Outlet) -> SchemaError | None:
    of_driver: type[Exception] = engine.dialect.loaded_dbapi.Error
    try:
        sets = _sets_in(engine)
    except (*PASSING, of_driver) as error:  # then the first error is all that is known
        logger.debug("where our tables are cannot be asked: %r", error)
        return None
    if outlet.schema in sets:
        return None
    return not_there(outlet.schema, sets, given=outlet.schema_is_given)


def _sets_in(engine: Engine) -> list[str]:
    """The schemas with tables of ours: asked on a connection of its own, for the caller's
    transaction is aborted, and its pool may have no other."""
    apart = engine.pool.recreate()
    try:
        connection = apart.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(str(SETS))
            return [name for (name,) in cursor.fetchall()]
        finally:
            connection.close()
    finally:
        apart.dispose()
