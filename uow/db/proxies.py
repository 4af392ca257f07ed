"""Whether a pooling proxy is what the settings say, seen from connections through it."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from uow.db import direct
from uow.db.database import Database

_PID = text("SELECT pg_backend_pid()")


async def answers_itself(db: Database) -> bool:
    """Whether the server itself is at the other end: a proxy says a number of its own."""
    async with db.engine.connect() as connection:
        driver = direct.driver_of(await connection.get_raw_connection())
        return bool(driver.get_server_pid() == await _backend_of(connection))


async def shares_connections(db: Database) -> bool:
    """Whether two connections at once have had the same one of the server, one after the other.

    Then the proxy pools transactions. If not, it may do so all the same, and have more.
    """
    async with db.engine.connect() as one, db.engine.connect() as other:
        return await _backend_of(one) == await _backend_of(other)


async def _backend_of(connection: AsyncConnection) -> int:
    """The server's process that answers now; the transaction is over then."""
    pid = await connection.scalar(_PID)
    await connection.rollback()
    return int(pid or 0)
