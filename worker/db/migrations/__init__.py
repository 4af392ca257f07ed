"""The schema's history, and the one way to move along it.

Two branches share one version table (``worker_alembic_version``): ``tasks`` is always there,
``users`` only while the built-in tasks are. Each revision runs in a transaction of its own, under
an advisory lock of that transaction, so two processes may migrate at once, also through a pooling
proxy. None waits for a lock of a table for long, for everybody else would wait behind it.

One that makes indexes CONCURRENTLY can be in no transaction: it runs on a second connection, while
the transaction of the first holds the advisory lock and does nothing else.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from worker.db.database import Database
from worker.db.migrations.steps import in_transaction, outside
from worker.db.queries import quoted
from worker.errors import SchemaError

VERSION_TABLE = "worker_alembic_version"

_TABLES = {
    "tasks": (
        "task", "task_error", "worker_process", "worker_leader",
        "schedule", "schedule_version", "schedule_tick",
    ),
    "users": ("users",),
}  # fmt: skip
_ALL_TABLES = [table for branch in _TABLES.values() for table in branch]


async def upgrade(db: Database, *, builtin_tasks: bool = True, rewrite: bool = False) -> None:
    """Bring the database to the newest schema; what was begun before is gone on with.

    Args:
        builtin_tasks: With the tables of the built-in tasks.
        rewrite: Write a table of many tasks anew where a revision has to.

    Raises:
        SchemaError: A table with one of our names is there that we did not make; somebody holds a
            lock of one of ours all the time; the table of tasks is to be written anew, and a worker
            lives or there are many, without `rewrite`; or the schema is newer than this version.
    """
    branches = ["tasks", "users"] if builtin_tasks else ["tasks"]

    def step(connection: Connection) -> bool:
        _refuse_foreign_tables(connection, db.schema, branches)
        config = _config(connection, db, rewrite=rewrite)
        for branch in branches:
            following = _following(config, branch, _applied(connection, db.schema))
            if following is not None:
                _run(config, following, command.upgrade, following)
                return True
        return False

    while await in_transaction(db, step, _ALL_TABLES):
        pass


async def downgrade(db: Database, revision: str, *, rewrite: bool = False) -> None:
    """Go back to `revision` (``base`` removes everything, the tasks included).

    Raises:
        SchemaError: There is no such revision, or as `upgrade`.
    """

    def step(connection: Connection) -> bool:
        config = _config(connection, db, rewrite=rewrite)
        _refuse_unknown(config, revision)
        last = next(_to_undo(config, revision, _applied(connection, db.schema)), None)
        if last is not None:
            branch = last.split("_")[0]
            before = ScriptDirectory.from_config(config).get_revision(last).down_revision
            _run(config, last, command.downgrade, f"{branch}@{before or 'base'}")
        elif revision == "base":
            connection.execute(text(f"DROP TABLE IF EXISTS {quoted(db.schema)}.{VERSION_TABLE}"))
        return last is not None

    while await in_transaction(db, step, _ALL_TABLES):
        pass


def _run(config: Config, revision: str, do: Callable[[Config, str], None], target: str) -> None:
    """Let Alembic take one step, that of `revision`, to `target`."""
    script = ScriptDirectory.from_config(config).get_revision(revision)
    if not getattr(script.module, "concurrent", False):
        do(config, target)
        return
    attributes = config.attributes
    with outside(attributes["connection"], pooler=attributes["pooler"]) as connection:
        attributes["connection"] = connection
        do(config, target)


def _following(config: Config, branch: str, applied: set[str]) -> str | None:
    """The next revision of a branch; None: it is at its head."""
    chain = _chain(config, branch)
    there = [one for one in applied if one.split("_")[0] == branch]
    if not there:
        return chain[0]
    if there[0] not in chain:
        raise SchemaError(
            f"the schema is at {there[0]}, which this version does not know (it ends with "
            f"{chain[-1]}): a newer one has migrated it"
        )
    return next(iter(chain[chain.index(there[0]) + 1 :]), None)


def _to_undo(config: Config, revision: str, applied: set[str]) -> Iterator[str]:
    """What is to be undone on the way to `revision`."""
    for branch in _TABLES:
        chain = _chain(config, branch)
        there = [one for one in chain if one in applied]
        if not there or (revision != "base" and revision not in chain):
            continue
        first = 0 if revision == "base" else chain.index(revision) + 1
        yield from reversed(chain[first : chain.index(there[0]) + 1])


def _chain(config: Config, branch: str) -> list[str]:
    """The revisions of a branch, in order."""
    script = ScriptDirectory.from_config(config)
    return [one.revision for one in script.iterate_revisions(f"{branch}@head", "base")][::-1]


def _refuse_unknown(config: Config, revision: str) -> None:
    known = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    if revision not in ("base", *known):
        raise SchemaError(f"no revision {revision}; there are base and {', '.join(known)}")


def _config(connection: Connection, db: Database, *, rewrite: bool) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(
        connection=connection,
        schema=db.schema,
        version_table=VERSION_TABLE,
        pooler=db.pooler,
        rewrite=rewrite,
    )
    return config


def _refuse_foreign_tables(connection: Connection, schema: str, branches: list[str]) -> None:
    tables = set(inspect(connection).get_table_names(schema=schema))
    ours = {revision.split("_")[0] for revision in _applied(connection, schema)}
    for branch in branches:
        for table in _TABLES[branch]:
            if table in tables and branch not in ours:
                raise SchemaError(
                    f'schema "{schema}" already has a table {table} that is not ours. Set '
                    "WORKER_DATABASE_SCHEMA to a schema of our own, for example worker"
                    + (", or WORKER_BUILTIN_TASKS=false" if branch == "users" else "")
                )


def _applied(connection: Connection, schema: str) -> set[str]:
    """The revision that each branch is at."""
    if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return set()
    statement = f"SELECT version_num FROM {quoted(schema)}.{VERSION_TABLE}"  # noqa: S608 - a quoted name
    return set(connection.execute(text(statement)).scalars())
