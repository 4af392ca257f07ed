"""``worker migrate``: our tables, then the application's; and back in the other order."""

from dataclasses import replace

import typer

from uow.app import AppParts
from uow.db import migrations
from uow.db.database import Database
from uow.db.migrations import offline
from uow.db.migrations.application import AppMigrations
from uow.services.readiness import wait_for_postgres
from uow.settings.environment import Settings


async def migrate(
    app: AppParts, settings: Settings, *, down: str | None, move_from: str | None, rewrite: bool
) -> None:
    """Go to the newest revisions, or back to `down`, and say where everything is.

    Raises:
        SchemaError: As `uow.db.migrations.upgrade`, `downgrade` and `move`.
        ServerUnreachable: Postgres did not answer in time.
    """
    theirs = AppMigrations(app.migrations) if app.migrations is not None else None
    given = settings.require_database()
    # Some steps need a second connection.
    async with Database.from_settings(replace(given, pool_size=max(2, given.pool_size))) as db:
        await wait_for_postgres(db, settings.connect_timeout)
        if move_from is not None:
            await migrations.move(db, move_from)
        if down is None:
            await migrations.upgrade(db, rewrite=rewrite)
            if theirs is not None:
                await theirs.upgrade(db)
        else:
            await _go_back(db, theirs, down, rewrite=rewrite)
    if theirs is not None and down is not None and theirs.has(down):
        typer.echo(f"{app.migrations}, the application's migrations, is at {down}")
    else:
        typer.echo(f'schema "{settings.database_schema}" is at {down or "the newest revision"}')


def print_statements(app: AppParts, settings: Settings, since: str | None) -> None:
    """Print what brings our tables from revision `since` to the newest one.

    Raises:
        SchemaError: There is no such revision.
    """
    steps = list(offline.statements(settings.database_schema, since or offline.BASE))
    for step in steps:
        typer.echo(step)
    if app.migrations is not None:
        typer.echo(f"worker: those of {app.migrations} are not in this", err=True)


async def _go_back(
    db: Database, theirs: AppMigrations | None, revision: str, *, rewrite: bool
) -> None:
    if theirs is not None and (revision == "base" or theirs.has(revision)):
        await theirs.downgrade(db, revision)
    if revision == "base" or theirs is None or not theirs.has(revision):
        others = theirs.revisions if theirs is not None else ()
        await migrations.downgrade(db, revision, rewrite=rewrite, others=others)
