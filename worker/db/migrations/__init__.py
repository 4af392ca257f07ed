"""The schema's history, and the one way to move along it.

Two branches share one version table (``worker_alembic_version``): ``tasks`` is always there,
``users`` only while the built-in tasks are. Each revision runs in a transaction of its own, under
an advisory lock of that transaction, so two processes may migrate at once, also through a pooling
proxy. None waits for a lock of a table for long, for everybody else would wait behind it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from worker.db import rights
from worker.db.database import Database
from worker.db.failures import sqlstate
from worker.db.migrations import moving
from worker.db.queries import quoted
from worker.db.whereabouts import SETS, VERSION_TABLE, not_there
from worker.errors import SchemaError

logger = logging.getLogger("worker.migrations")

LOCK_SECONDS = 3.0
"""So long a step waits for a lock that it needs; then it lets others through and tries again."""

TRIES = 20

PAUSE_SECONDS = 1.0
"""Between two tries."""

_LOCK = 0x776F726B6572  # "worker", for pg_advisory_xact_lock
_LOCK_NOT_AVAILABLE = "55P03"

TABLES = {
    "tasks_001": ("task", "task_error"),
    "tasks_002": ("worker_process", "worker_leader"),
    "tasks_003": ("schedule", "schedule_version", "schedule_tick"),
    "tasks_020": ("worker_identity", "worker_app"),
    "users_001": ("users",),
}
"""Our tables, by the revision that makes them."""

_HOLDERS = text(
    """
    SELECT pid, usename, application_name, state, round(extract(epoch FROM now() - xact_start)) AS s
    FROM pg_catalog.pg_stat_activity
    WHERE pid IN (
        SELECT pid FROM pg_catalog.pg_locks AS held
        JOIN pg_catalog.pg_class AS relation ON relation.oid = held.relation
        JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
        WHERE granted AND pid <> pg_backend_pid() AND CAST(space.nspname AS text) = :schema
          AND CAST(relation.relname AS text) = ANY(:tables))
    ORDER BY xact_start LIMIT 3
    """
)

Step = Callable[[Connection], bool]
"""One step in a transaction; returns whether there was one to do."""


async def upgrade(db: Database, *, builtin_tasks: bool = True) -> None:
    """Bring the database to the newest schema.

    Raises:
        SchemaError: A table with one of our names is there that we did not make; or ours are in
            another schema, and nobody has said which is meant; our role lacks a right; somebody
            holds a lock of one of ours all the time; or the schema is newer than this version.
    """
    branches = ["tasks", "users"] if builtin_tasks else ["tasks"]

    def step(connection: Connection) -> bool:
        _refuse_a_second_set(connection, db)
        _refuse_foreign_tables(connection, db.schema, branches)
        config = _config(connection, db.schema)
        for branch in branches:
            following = _following(config, branch, _applied(connection, db.schema))
            if following is not None:
                command.upgrade(config, following)
                return True
        return False

    while await _in_transaction(db, step):
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
            tables = _made_by(_config(connection, source), applied)
            _refuse_foreign_tables(connection, db.schema, _branches(applied))
            moving.move(connection, source, db.schema, tables)
        return bool(applied)

    if await _in_transaction(db, step, source):
        logger.info('moved our tables from schema "%s" to "%s"', source, db.schema)


async def downgrade(db: Database, revision: str) -> None:
    """Go back to `revision` (``base`` removes everything, the tasks included).

    Raises:
        SchemaError: There is no such revision, or somebody holds a lock all the time.
    """

    def step(connection: Connection) -> bool:
        _refuse_a_second_set(connection, db)
        config = _config(connection, db.schema)
        _refuse_unknown(config, revision)
        last = next(_to_undo(config, revision, _applied(connection, db.schema)), None)
        if last is not None:
            branch = last.split("_")[0]
            before = ScriptDirectory.from_config(config).get_revision(last).down_revision
            command.downgrade(config, f"{branch}@{before or 'base'}")
        elif revision == "base":
            connection.execute(text(f"DROP TABLE IF EXISTS {quoted(db.schema)}.{VERSION_TABLE}"))
        return last is not None

    while await _in_transaction(db, step):
        pass


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
        _following(config, branch, applied)  # raises if it is newer than what we know
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


async def _in_transaction(db: Database, step: Step, schema: str | None = None) -> bool:
    """Run `step` in a transaction; again if it does not get a lock in time.

    Args:
        schema: Where the tables are that it locks, if they are not in that of `db`.
    """

    def locked(connection: Connection) -> bool:
        _lock(connection, db.schema)
        return step(connection)

    for _ in range(TRIES):
        try:
            async with db.engine.begin() as connection:
                return await connection.run_sync(locked)
        except DBAPIError as error:
            if sqlstate(error) == rights.REFUSED:
                raise await _lacking(db, schema, error) from error
            if sqlstate(error) != _LOCK_NOT_AVAILABLE:
                raise
        holders = await _holders(db, schema or db.schema)
        logger.warning("waiting for a lock on our tables: %s", holders)
        await asyncio.sleep(PAUSE_SECONDS)
    raise SchemaError(
        f"a lock on our tables was not to be had, {TRIES} times for {LOCK_SECONDS:g} s: {holders}. "
        "End that transaction and migrate again; what was done so far stays"
    )


async def _holders(db: Database, schema: str) -> str:
    """Who holds locks on our tables, the longest first."""
    async with db.engine.connect() as connection:
        found = await connection.execute(_HOLDERS, {"schema": schema, "tables": _ours()})
        held = [
            f"process {row.pid} of {row.usename} ({row.application_name or 'no name'}, "
            f"{row.state}, in a transaction for {row.s or 0} s)"
            for row in found
        ]
    return "; ".join(held) or "nobody holds one now"


async def _lacking(db: Database, schema: str | None, error: DBAPIError) -> SchemaError:
    """What our role lacks, in a transaction that has not failed."""
    schemas = [db.schema] if schema is None else [db.schema, schema]
    async with db.engine.connect() as connection:
        return await connection.run_sync(rights.to_migrate, schemas, _ours(), error)


def _lock(connection: Connection, schema: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    connection.execute(text(f"SET LOCAL lock_timeout = '{int(LOCK_SECONDS * 1000)}ms'"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))  # large tables take their time
    if not inspect(connection).has_schema(schema):
        connection.execute(text(f"CREATE SCHEMA {quoted(schema)}"))


def _config(connection: Connection, schema: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, schema=schema, version_table=VERSION_TABLE)
    return config


def _refuse_a_second_set(connection: Connection, db: Database) -> None:
    """Raise if our tables are in another schema, and nobody has said which one is meant."""
    if db.schema_is_given or _applied(connection, db.schema):
        return
    sets = connection.execute(SETS).scalars().all()
    if {*sets} - {db.schema}:
        raise not_there(db.schema, sets, given=False)


def _refuse_foreign_tables(connection: Connection, schema: str, branches: list[str]) -> None:
    tables = set(inspect(connection).get_table_names(schema=schema))
    wanted = {*branches}.difference(_branches(_applied(connection, schema)))
    for revision, made in TABLES.items():
        if wanted.isdisjoint(_branches([revision])):
            continue
        for table in sorted(tables.intersection(made)):
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
