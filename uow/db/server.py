"""The statements that ask the server about itself."""

from uow.db.statement import REAL, SILENT_SECONDS, Statements, template

_PING = template("ping", "SELECT 1")

_BEEN_UP = template(
    "been_up",
    """
    SELECT {up_since} < clock_timestamp() - make_interval(secs => :seconds) AS up
    """,
    seconds=REAL,
)


async def ping(db: Statements, *, limit: float = SILENT_SECONDS) -> None:
    """One round trip; raises what the driver raises when Postgres does not answer."""
    await db.execute_once(_PING(), limit=limit)


async def been_up(db: Statements, seconds: float) -> bool:
    """Whether the server has been up for so long: not started anew, nor crashed meanwhile."""
    ((up,),) = await db.execute_once(_BEEN_UP(seconds=seconds))
    return bool(up)
