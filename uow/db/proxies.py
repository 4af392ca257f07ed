"""Whether a pooling proxy is what the settings say, seen from connections through it.

All is asked by simple messages, which any proxy passes on as a whole: a prepared statement may be
just what does not work.
"""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from uow.db import direct
from uow.db.database import Database

ROUNDS = 10
"""Others are at the proxy, too: the two need not have the same connection at once."""

_SAY_PID = "DO 'BEGIN RAISE INFO ''%'', pg_backend_pid(); END'"
"""The answer to a simple message is no row; but what is raised as INFO is always sent."""


async def answers_itself(db: Database) -> bool:
    """Whether the server itself is at the other end: a proxy says a number of its own."""
    async with db.engine.connect() as connection:
        driver = await _driver_of(connection)
        return bool(driver.get_server_pid() == await _backend_of(driver))


async def shares_connections(db: Database) -> bool:
    """Whether two connections at once have had the same one of the server, one after the other.

    Then the proxy pools transactions. If not, it may do so all the same, and have more.
    """
    async with db.engine.connect() as first, db.engine.connect() as second:
        one, other = await _driver_of(first), await _driver_of(second)
        for _ in range(ROUNDS):
            if await _backend_of(one) == await _backend_of(other):
                return True
    return False


async def _driver_of(connection: AsyncConnection) -> Any:
    return direct.driver_of(await connection.get_raw_connection())


async def _backend_of(driver: Any) -> int:
    """The server's process that answers now."""
    said: list[int] = []

    def note(_: object, message: Any) -> None:
        said.append(int(message.message))

    driver.add_log_listener(note)
    try:
        await driver.execute(_SAY_PID)
    finally:
        driver.remove_log_listener(note)
    return said[-1]
