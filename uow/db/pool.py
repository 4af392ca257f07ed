"""How our own statements come by a connection of the pool, and how each one changes hands: as new.

It is idle then, and nothing is left of what was set in its session. What only we have had needs no
reset: our own statements set nothing that outlasts their transaction.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import Pool, PoolProxiedConnection, PoolResetState, QueuePool
from sqlalchemy.util import await_only, greenlet_spawn

from uow.db.connection import Connection
from uow.db.direct import driver_of
from uow.db.failures import refuse_full_proxy
from uow.db.limit import Limit, Limited
from uow.errors import ServerUnreachable

RESET_SECONDS = 5.0
"""So long it may take to make a session as new, which has nothing to look at; then its connection
is ended, which does the same."""


@contextlib.asynccontextmanager
async def driver_for(
    engine: Engine, seconds: float, most_beyond: int, *, proxied: bool = False
) -> AsyncGenerator[Connection, None]:
    """The driver's connection of a pooled one, for `seconds`, the wait for it included.

    Args:
        most_beyond: How many connections the pool may have beyond its size; below 0: any number.
        proxied: There is a pooling proxy before Postgres.

    Raises:
        ServerUnreachable: Postgres did not answer in time, or the proxy has no connection left.
        sqlalchemy.exc.TimeoutError: Nobody has given one back in time.
    """
    pool = engine.pool
    with Limit(seconds) as limit:
        try:
            pooled = await greenlet_spawn(pool.connect)
        except asyncio.CancelledError:
            if not limit.has_cancelled():
                raise
            raise _why_none_came(pool, seconds, most_beyond, proxied) from None
        except engine.dialect.loaded_dbapi.Error as error:  # which an engine would wrap
            refuse_full_proxy(error)
            raise error.__cause__ or error from None
        driver = driver_of(pooled)
        limit.bind(driver)
        was_as_new = driver.is_as_new
        try:
            yield driver
        except asyncio.CancelledError:
            driver.terminate()  # nobody knows in which state it is; the pool replaces it
            raise
        except Exception as error:
            if driver.is_closed() and limit.is_over:
                raise _silent(seconds, proxied) from error
            refuse_full_proxy(error)
            raise
        finally:
            limit.lift()  # before somebody else has the connection
            if was_as_new and not driver.is_closed():
                driver.note_as_new()
            await _give_back(pool, pooled, driver)


def hand_over_as_new(pool: Pool) -> None:
    """See to it that whoever gets a connection of `pool` meets nothing of who had it before."""
    event.listen(pool, "reset", _make_as_new)
    event.listen(pool, "checkout", _refuse_unless_idle)


def _why_none_came(pool: Pool, seconds: float, most_beyond: int, proxied: bool) -> Exception:
    """Whether others have them all, or one was being opened."""
    if not isinstance(pool, QueuePool) or pool.checkedin():
        return _silent(seconds, proxied)
    if not 0 <= most_beyond <= pool.overflow():
        return _silent(seconds, proxied)
    return PoolTimeout(
        f"no connection to Postgres came free for {seconds:g} s: all of the pool's are in use. "
        "Leave sessions sooner, or set WORKER_POOL_SIZE (in code: pool_size) higher"
    )


def _silent(seconds: float, proxied: bool) -> ServerUnreachable:
    why = "is it silent, or is a row locked?"
    if proxied:
        why = "is it silent, is a row locked, or is the pooling proxy's pool too small?"
    return ServerUnreachable(
        f"Postgres has not answered for {seconds:g} s ({why}): its connection was ended"
    )


async def _give_back(pool: Pool, pooled: PoolProxiedConnection, driver: Connection) -> None:
    """Give back what no transaction of SQLAlchemy's is on; past its greenlet, which takes 10 µs."""
    try:
        if not driver.is_as_new and driver.is_idle() and not driver.is_spoilt:
            # Here and not in the pool, which would log as an error that somebody is cancelled.
            await _reset(driver)
    finally:
        if driver.is_as_new and isinstance(pool, QueuePool) and pool.overflow() <= 0:
            pooled.close()
        else:  # it may be one too many, and closing it waits
            await greenlet_spawn(pooled.close)


async def _reset(driver: Connection) -> None:
    """Let its session forget what was set in it; what cannot be done in time ends it."""
    try:
        with Limited(driver, RESET_SECONDS, "a RESET"):
            await driver.make_as_new()
    except BaseException as error:
        driver.terminate()
        if not isinstance(error, Exception):
            raise


def _make_as_new(connection: Any, _: object, state: PoolResetState) -> None:
    """Whatever was done to a connection, who gets it next meets nothing of it."""
    if state.terminate_only or not state.asyncio_safe:  # nobody gets it
        return
    if not state.transaction_was_reset:
        connection.rollback()  # SQLAlchemy's own comes later
    driver: Connection = connection.driver_connection
    if driver.is_as_new:
        return
    if driver.is_spoilt or not driver.is_idle():
        driver.terminate()
        return
    await_only(_reset(driver))


def _refuse_unless_idle(connection: Any, *_: object) -> None:
    """Let the pool replace a connection that is closed, or was used after it had come back."""
    driver: Connection = connection.driver_connection
    driver.begin_as_ever()
    if not driver.is_idle():
        driver.terminate()
        raise DisconnectionError("this connection is closed, or somebody else's statement runs")
