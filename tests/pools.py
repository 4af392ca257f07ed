"""How much of a pool of connections is in use."""

from sqlalchemy.pool import QueuePool

from uow import Database


def checked_out(db: Database) -> int:
    """How many connections somebody holds."""
    return queue_pool(db).checkedout()


def queue_pool(db: Database) -> QueuePool:
    pool = db.engine.pool
    assert isinstance(pool, QueuePool)
    return pool
