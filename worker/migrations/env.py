"""Alembic's entry.

`worker migrate` brings the connection; ``alembic`` by hand has the one of the settings.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection

from uow import Database, include_object, load_settings
from worker.models import Base
from worker.settings import WorkerAppSettings

VERSION_TABLE = "worker_app_alembic_version"
"""Of its own: the usual name is the one of a service that has this database, too."""

attributes = context.config.attributes


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=include_object,
        version_table=VERSION_TABLE,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_by_hand() -> None:
    settings = load_settings(WorkerAppSettings)
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
