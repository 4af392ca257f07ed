"""The schema's history, and the one way to move along it.

Two branches share one version table (``worker_alembic_version``): ``tasks`` is always there,
``users`` only while the built-in tasks are. Each revision runs in a transaction of its own, under
an advisory lock of that transaction, so two processes may migrate at once, also through a pooling
proxy. None waits for a lock of a table for long, for everybody else would wait behind it.

One that makes indexes CONCURRENTLY can be in no transaction: it runs on a second connection, while
the transaction of the first holds the advisory lock and does nothing else.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from uow.db.database import Database
from uow.db.fragments import quoted
from uow.db.migrations import moving
from uow.db.migrations.steps import in_transaction, outside
from uow.db.whereabouts import SETS, VERSION_TABLE, not_there
from uow.errors import SchemaError

logger = logging.getLogger(__name__)

TABLES = {
    "tasks_001": ("task", "task_error"),
    "tasks_002": ("worker_process", "worker_leader"),
    "tasks_003": ("schedule", "schedule_version", "schedule_tick"),
    "tasks_011": ("worker_identity", "worker_app"),
    "users_001": ("users",),
}
"""Our tables, by the revision that makes them."""


async def upgrade(db: Database, *, builtin_tasks: bool = True, rewrite: bool = False) -> None:
    """Bring the database to the newest schema; what was begun before is gone on with.

    Args:
        builtin_tasks: With the tables of the built-in tasks.
        rewrite: Write a table of many tasks anew where a revision has to.

    Raises:
        SchemaError: A table with one of our names is there that we did not make; or ours are in
            another schema, and nobody has said which is meant; our role lacks a right; somebody
            holds a lock of one of ours all the time; the table of tasks is to be written anew, and
            a worker lives or there are many, without `rewrite`; or the schema is newer than this
            version.
    """
    branches = ["tasks", "users"] if builtin_tasks else ["tasks"]

    def step(connection: Connection) -> bool:
        _refuse_a_second_set(connection, db)
        config = _config(connection, db, rewrite=rewrite)
        _refuse_foreign_tables(connection, config, branches)
        for branch in branches:
            following = _to_come(config, branch, _applied(connection, db.schema))
            if following:
                _run(config, following[0], command.upgrade, following[0])
                return True
        return False

    while await in_transaction(db, step, _ours()):
        pass


async def move(db: Database, source: str) -> None:
    """Move our tables, and what belongs to them, from schema `source` to the one of `db`.

    All in one transaction. It is no error if they have been moved already.

    Raises:
        SchemaError: There are none; or some are in both schemas; a worker lives; a table with one
            of our names is in the way; or somebody holds a lock all the time.
    """
    if source == db.schema:
        raise SchemaError(
            f'"{source}" is where our tables are to be: name the schema where they have been'
        )

    def step(connection: Connection) -> bool:
        applied, moved = _applied(connection, source), _applied(connection, db.schema)
        if applied and moved:
            raise SchemaError(
                f'schemas "{source}" and "{db.schema}" both have tables of ours, and rows of two '
                "sets cannot be put together: say which is meant, with WORKER_DATABASE_SCHEMA"
            )
        if not applied and not moved:
            raise SchemaError(f'schema "{source}" has no tables of ours')
        if applied:
            config = _config(connection, db)
            tables = _made_by(config, applied)
            _refuse_foreign_tables(connection, config, _branches(applied))
            moving.move(connection, source, db.schema, tables)
        return bool(applied)

    if await in_transaction(db, step, _ours(), source):
        logger.info('moved our tables from schema "%s" to "%s"', source, db.schema)


async def downgrade(db: Database, revision: str, *, rewrite: bool = False) -> None:
    """Go back to `revision` (``base`` removes everything, the tasks included).

    Raises:
        SchemaError: There is no such revision, or as `upgrade`.
    """

    def step(connection: Connection) -> bool:
        _refuse_a_second_set(connection, db)
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

    while await in_transaction(db, step, _ours()):
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


def _to_come(config: Config, branch: str, applied: set[str]) -> list[str]:
    """The revisions of a branch that are not applied yet, the next one first."""
    chain = _chain(config, branch)
    there = [one for one in applied if one.split("_")[0] == branch]
    if not there:
        return chain
    if there[0] not in chain:
        raise SchemaError(
            f"the schema is at {there[0]}, which this version does not know (it ends with "
            f"{chain[-1]}): a newer one has migrated it"
        )
    return chain[chain.index(there[0]) + 1 :]


def _to_undo(config: Config, revision: str, applied: set[str]) -> Iterator[str]:
    """What is to be undone on the way to `revision`."""
    for branch in _branches(TABLES):
        chain = _chain(config, branch)
        there = [one for one in chain if one in applied]
        if not there or (revision != "base" and revision not in chain):
            continue
        first = 0 if revision == "base" else chain.index(revision) + 1
        yield from reversed(chain[first : chain.index(there[0]) + 1])


def _made_by(config: Config, applied: set[str]) -> list[str]:
    """The tables of the revisions that are applied."""
    made: list[str] = []
    for branch in _branches(applied):
        _to_come(config, branch, applied)  # raises if it is newer than what we know
        chain = _chain(config, branch)
        (at,) = applied.intersection(chain)
        made += (table for one in chain[: chain.index(at) + 1] for table in TABLES.get(one, ()))
    return made


def _ours() -> list[str]:
    """All tables that may be ours."""
    return [*(table for made in TABLES.values() for table in made), VERSION_TABLE]


def _branches(revisions: Iterable[str]) -> list[str]:
    """The branches that these revisions are of."""
    return sorted({revision.split("_")[0] for revision in revisions})


def _chain(config: Config, branch: str) -> list[str]:
    """The revisions of a branch, in order."""
    script = ScriptDirectory.from_config(config)
    return [one.revision for one in script.iterate_revisions(f"{branch}@head", "base")][::-1]


def _refuse_unknown(config: Config, revision: str) -> None:
    known = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    if revision not in ("base", *known):
        raise SchemaError(f"no revision {revision}; there are base and {', '.join(known)}")


def _config(connection: Connection, db: Database, *, rewrite: bool = False) -> Config:
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


def _refuse_a_second_set(connection: Connection, db: Database) -> None:
    """Raise if our tables are in another schema, and nobody has said which one is meant."""
    if db.schema_is_given or _applied(connection, db.schema):
        return
    sets = connection.execute(SETS).scalars().all()
    if {*sets} - {db.schema}:
        raise not_there(db.schema, sets, given=False)


def _refuse_foreign_tables(connection: Connection, config: Config, branches: list[str]) -> None:
    """Raise if a table is there already that a revision which is still to come would make."""
    schema = config.attributes["schema"]
    tables = set(inspect(connection).get_table_names(schema=schema))
    applied = _applied(connection, schema)
    for revision in (one for branch in branches for one in _to_come(config, branch, applied)):
        for table in sorted(tables.intersection(TABLES.get(revision, ()))):
            raise SchemaError(
                f'schema "{schema}" already has a table {table} that is not ours. Set '
                "WORKER_DATABASE_SCHEMA to a schema of our own"
                + (", or WORKER_BUILTIN_TASKS=false" if table == "users" else "")
            )


def _applied(connection: Connection, schema: str) -> set[str]:
    """The revision that each branch is at."""
    if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return set()
    statement = f"SELECT version_num FROM {quoted(schema)}.{VERSION_TABLE}"  # noqa: S608 - a quoted name
    return set(connection.execute(text(statement)).scalars())
