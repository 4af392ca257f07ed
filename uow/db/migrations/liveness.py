"""Whether a worker lives: nothing is taken away from under it."""

from sqlalchemy import Connection, text

from uow.db.fragments import quoted
from uow.errors import SchemaError

ALIVE_SECONDS = 60
"""So long after its last heartbeat a process may still live; one that has ended in order has gone
from the table."""

_ALIVE = """
SELECT id, queue, CAST(extract(epoch FROM clock_timestamp() - heartbeat_at) AS integer) AS ago
FROM {schema}.worker_process
WHERE heartbeat_at > clock_timestamp() - make_interval(secs => :seconds)
ORDER BY id LIMIT 3
"""

NO_WORKER_LIVES = """
DO $live$ BEGIN
    IF EXISTS (SELECT FROM {schema}.worker_process
               WHERE heartbeat_at > clock_timestamp() - make_interval(secs => {seconds})) THEN
        RAISE EXCEPTION 'the tasks cannot be written anew under a live worker: stop all workers';
    END IF;
END $live$
"""
"""The same as a statement, for who migrates without us."""


def refuse_live_workers(connection: Connection, schema: str, what: str) -> None:
    """Raise if a worker of `schema` lives.

    Args:
        what: Cannot be done then: a half sentence.

    Raises:
        SchemaError: One lives.
    """
    statement = text(_ALIVE.format(schema=quoted(schema)))
    found = connection.execute(statement, {"seconds": ALIVE_SECONDS}).all()
    if found:
        alive = ", ".join(f"{one.id} (queue {one.queue}, {one.ago} s ago)" for one in found)
        raise SchemaError(
            f"{what} under a live worker; the last heartbeat of {alive}. Stop all workers and "
            "migrate again; what was done so far stays. One that was killed counts for "
            f"{ALIVE_SECONDS} s"
        )
