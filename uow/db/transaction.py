"""A transaction of our own, for several statements."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Result, TextClause

from uow.db import direct
from uow.db.connection import Connection
from uow.db.statement import SILENT_SECONDS, Records, Statement


class Transaction:
    """Runs statements in the transaction that `driver` is in."""

    def __init__(self, driver: Connection, schema: str) -> None:
        self._driver = driver
        self._schema = schema

    async def execute_once(
        self,
        statement: Statement,
        *,
        limit: float = SILENT_SECONDS,
    ) -> Records:
        """Run a statement of ours; its limit is the transaction's.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
        """
        return await direct.fetch(self._driver, *statement.for_driver(self._schema))

    async def execute(self, text: TextClause, parameters: Mapping[str, object]) -> Result[Any]:
        """Run a text.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError: As the driver says it.
        """
        return await direct.execute(self._driver, text, parameters)
