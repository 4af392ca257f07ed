"""How long something may take that is done with a connection to Postgres."""

import asyncio
from typing import Self

import asyncpg

from uow.db.connection import Connection


class Limit:
    """Ends, after some seconds, what runs on a connection, or the wait for one.

    Not asyncio.timeout: asyncpg would ask a server that is silent to cancel the statement, and wait
    for that. A connection that is terminated waits for nobody. And one timer will do for all of it.

    Args:
        seconds: From now.
        driver: The connection; None: it is waited for still, by the asyncio task that runs.

    Attributes:
        is_over: The time has passed.
    """

    def __init__(self, seconds: float, driver: Connection | None = None) -> None:
        if driver is None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - whoever awaits a connection is one
            self._task = task
            self._cancelling = task.cancelling()
        self._driver = driver
        self.is_over = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.lift()

    def bind(self, driver: Connection) -> None:
        """The wait is over: from now on it is `driver` that is ended."""
        self._driver = driver
        if self.is_over:  # and the pool has swallowed that
            self._task.uncancel()
            driver.terminate()

    def has_cancelled(self) -> bool:
        """Whether the CancelledError that has just come is ours, and nobody else's."""
        return self.is_over and self._task.uncancel() <= self._cancelling

    def lift(self) -> None:
        """It is done: nothing is to be ended any more."""
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        if self._driver is None:
            self._task.cancel()
        else:
            self._driver.terminate()


class Limited(Limit):
    """Ends `driver` if the block takes longer than `seconds`.

    Args:
        what: Is asked.

    Raises:
        asyncpg.ConnectionDoesNotExistError: It has. What was asked may be done.
    """

    def __init__(self, driver: Connection, seconds: float, what: str) -> None:
        super().__init__(seconds, driver)
        self._said = f"Postgres has not answered {what} for {seconds:g} s"

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """The end of the block."""
        self.lift()
        if self.is_over and isinstance(error, Exception):
            # Of the connection alone: it may be this task's doing, as by a trigger that never ends.
            raise asyncpg.ConnectionDoesNotExistError(
                f"{self._said}: its connection was ended"
            ) from error
