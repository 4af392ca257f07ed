"""Alembic's entry.

`worker migrate` brings the connection; ``alembic`` by hand has the one of the settings.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection

from uow import Database, include_object
from worker.models import Base
from worker.settings import WorkerAppSettings

attributes = context.config.attributes


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=Base.metadata, include_object=include_object
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_by_hand() -> None:
    settings = WorkerAppSettings()
    attributes["schema"] = settings.database_schema
    async with (
        Database.from_settings(settings.require_database()) as db,
        db.engine.begin() as connection,
    ):
        await connection.run_sync(migrate)


if "connection" in attributes:
    migrate(attributes["connection"])
else:
    asyncio.run(migrate_by_hand())
