"""The schema's history, and the one way to move along it.

Two branches share one version table (``worker_alembic_version``): ``tasks`` is always there,
``users`` only while the built-in tasks are. A migration runs in one transaction under an advisory
lock of that transaction, so two processes may migrate at once, also through a pooling proxy.
"""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from worker.db.database import Database
from worker.errors import SchemaError

VERSION_TABLE = "worker_alembic_version"

_LOCK = 0x776F726B6572  # "worker", for pg_advisory_xact_lock
_TABLES = {
    "tasks": (
        "task", "task_error", "worker_process", "worker_leader",
        "schedule", "schedule_version", "schedule_tick",
    ),
    "users": ("users",),
}  # fmt: skip


async def upgrade(db: Database, *, builtin_tasks: bool = True) -> None:
    """Bring the database to the newest schema.

    Raises:
        SchemaError: A table with one of our names is there that we did not make.
    """
    branches = ["tasks", "users"] if builtin_tasks else ["tasks"]

    def run(connection: Connection) -> None:
        _lock(connection, db.schema)
        _refuse_foreign_tables(connection, db.schema, branches)
        for branch in branches:
            command.upgrade(_config(connection, db.schema), f"{branch}@head")

    await _in_transaction(db, run)


async def downgrade(db: Database, revision: str) -> None:
    """Go back to `revision` (``base`` removes everything, the tasks included).

    Raises:
        SchemaError: There is no such revision.
    """

    def run(connection: Connection) -> None:
        _lock(connection, db.schema)
        config = _config(connection, db.schema)
        try:
            command.downgrade(config, revision)
        except CommandError as error:
            known = [
                script.revision for script in ScriptDirectory.from_config(config).walk_revisions()
            ]
            raise SchemaError(f"{error}; there are base and {', '.join(known)}") from None
        if revision == "base":
            connection.execute(text(f'DROP TABLE IF EXISTS "{db.schema}".{VERSION_TABLE}'))

    await _in_transaction(db, run)


async def _in_transaction(db: Database, run: Any) -> None:
    async with db.engine.begin() as connection:
        await connection.run_sync(run)


def _lock(connection: Connection, schema: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if not inspect(connection).has_schema(schema):
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))


def _config(connection: Connection, schema: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, schema=schema, version_table=VERSION_TABLE)
    return config


def _refuse_foreign_tables(connection: Connection, schema: str, branches: list[str]) -> None:
    tables = set(inspect(connection).get_table_names(schema=schema))
    ours = _applied_branches(connection, schema) if VERSION_TABLE in tables else set()
    for branch in branches:
        for table in _TABLES[branch]:
            if table in tables and branch not in ours:
                raise SchemaError(
                    f'schema "{schema}" already has a table {table} that is not ours. Set '
                    "WORKER_DATABASE_SCHEMA to a schema of our own, for example worker"
                    + (", or WORKER_BUILTIN_TASKS=false" if branch == "users" else "")
                )


def _applied_branches(connection: Connection, schema: str) -> set[str]:
    statement = f'SELECT version_num FROM "{schema}".{VERSION_TABLE}'  # noqa: S608 - a checked name
    revisions = connection.execute(text(statement))
    return {revision.split("_")[0] for revision in revisions.scalars()}
