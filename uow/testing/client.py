"""The kit's `TaskClient`: for code that enqueues, cancels or looks through a client of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Self
from uuid import UUID

from arq.connections import ArqRedis
from sqlalchemy.util import greenlet_spawn

from uow.client import TaskClient
from uow.db.database import Database
from uow.errors import SchemaError
from uow.settings.environment import Settings
from uow.tasks.outlets import Outlet, close_outlet, open_outlet
from uow.tasks.refusal import refusal_of
from uow.testing.rowless import RowlessJobs, nobody_runs


class NestedClient(TaskClient):
    """A `TaskClient` whose transactions are the test's.

    It pushes nothing, and is open for as long as the test. It serves as ``app.state.client``.
    """

    def __init__(
        self, db: Database, redis: ArqRedis, settings: Settings, queue: str, rowless: RowlessJobs
    ) -> None:
        super().__init__(db, redis, settings)
        self._rowless: Any = rowless
        self._outlet = Outlet(
            schema=db.schema,
            queue=queue,
            max_payload_bytes=settings.max_payload_bytes,
            reader=self,
            engine=db.engine.sync_engine,
            schema_is_given=db.schema_is_given,
            stands_alone=True,
        )
        open_outlet(self._outlet)

    def close_outlet(self) -> None:
        """The test has ended: rows of its engine go elsewhere again."""
        close_outlet(self._outlet)

    async def refusal_of(self, error: Exception) -> SchemaError | None:
        """What an error of ours says about our tables: that they are not there, or not ours."""
        return await greenlet_spawn(refusal_of, error, self.db.engine.sync_engine, self._outlet)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """The test closes it."""

    @contextlib.asynccontextmanager
    async def hint(self, task_id: UUID) -> AsyncIterator[asyncio.Event]:
        """Refused: nobody runs it, so its result would be waited for for ever.

        Raises:
            AssertionError: Always.
        """
        yield nobody_runs(f"task {task_id}")
