"""The client that commands work with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from uow.client import TaskClient
from uow.services.readiness import wait_for_tables
from uow.settings.environment import Settings


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[TaskClient]:
    """An open client, as soon as Postgres answers and has our tables.

    Raises:
        SchemaError: The migrations have not been run.
        ServerUnreachable: Postgres did not answer in time.
    """
    async with TaskClient.from_settings(settings) as client:
        await wait_for_tables(client.db, settings.connect_timeout)
        yield client
