"""What commands that look at things begin with: Postgres, and what is not to be shown."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer

from uow.app import AppParts
from uow.db.database import Database
from uow.errors import SettingsError
from uow.questions.redaction import Redaction
from uow.services.readiness import wait_for_tables
from uow.settings.environment import Settings
from uow.tasks.registry import default_registry


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """A `Database`, as soon as Postgres answers and has our tables; Redis is not asked.

    Raises:
        SchemaError: The migrations have not been run.
        ServerUnreachable: Postgres did not answer in time.
    """
    async with Database.from_settings(settings.require_database()) as db:
        await wait_for_tables(db, settings.connect_timeout)
        yield db


def redaction_for(app: AppParts, settings: Settings) -> Redaction:
    """What is not to be shown, by the types of the task modules, too.

    A module that cannot be imported here is told of: what its types say is not known then.
    """
    if app.modules or settings.task_modules:
        try:
            default_registry.load(settings.task_modules, of_app=app.modules)
        except SettingsError as error:
            typer.echo(f"worker: only WORKER_REDACT says what is private: {error}", err=True)
    return Redaction(settings.redact, default_registry)
