"""The schema's history, and the one way to move along it.

Each revision runs in a transaction of its own, under an advisory lock of that transaction, so two
processes may migrate at once, also through a pooling proxy. None waits for a lock of a table for
long, for everybody else would wait behind it. An application's own history is beside this one: see
`uow.db.migrations.application`.

One that makes indexes CONCURRENTLY can be in no transaction: it runs on a second connection, while
the transaction of the first holds the advisory lock and does nothing else.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, Table, inspect, text
from sqlalchemy.schema import SetTableComment

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
    "tasks_013": ("worker_code",),
    "tasks_014": ("audit", "audit_arguments", "bulk_act"),
    "tasks_015": (
        "rollup_inbox", "rollup_source", "rollup", "rollup_hour", "rollup_error",
        "rollup_error_day",
    ),
    "tasks_016": ("pause",),
    "tasks_017": ("act_answer",),
}  # fmt: skip
"""Our tables, by the revision that makes them."""

BRANCH = "tasks"

NOT_OURS_ANY_MORE = "users_001"
"""A table `users` was a second branch of this history; it is an application's, and stays as it is.
"""

MADE_BEFORE = 'an older version has made the table users in schema "{schema}"'
"""The comment that the version table gets then: so the application that is to have this table can
tell it from somebody else's."""


async def upgrade(db: Database, *, rewrite: bool = False) -> None:
    """Bring the database to the newest schema; what was begun before is gone on with.

    Args:
        rewrite: Write a table of many tasks anew where a revision has to.

    Raises:
        SchemaError: A table with one of our names is there that we did not make; or ours are in
            another schema, and nobody has said which is meant; our role lacks a right; somebody
            holds a lock of one of ours all the time; the table of tasks is to be written anew, and
            a worker lives or there are many, without `rewrite`; or the schema is newer than this
            version.
    """

    def step(connection: Connection) -> bool:
        _refuse_a_second_set(connection, db)
        _leave_users_alone(connection, db.schema)
        config = _config(connection, db, rewrite=rewrite)
        _refuse_foreign_tables(connection, config)
        following = _to_come(config, _applied(connection, db.schema))
        if following:
            _run(config, following[0], command.upgrade, following[0])
        return bool(following)

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
            _leave_users_alone(connection, source)
            config = _config(connection, db)
            tables = _made_by(config, applied)
            _refuse_foreign_tables(connection, config)
            moving.move(connection, source, db.schema, tables)
        return bool(applied)

    if await in_transaction(db, step, _ours(), source):
        logger.info('moved our tables from schema "%s" to "%s"', source, db.schema)


async def downgrade(
    db: Database, revision: str, *, rewrite: bool = False, others: Sequence[str] = ()
) -> None:
    """Go back to `revision` (``base`` removes everything, the tasks included).

    Args:
        rewrite: As `upgrade`.
        others: Revisions that somebody might mean as well, to be told of.

    Raises:
        SchemaError: There is no such revision, or as `upgrade`.
    """

    def step(connection: Connection) -> bool:
        _refuse_a_second_set(connection, db)
        config = _config(connection, db, rewrite=rewrite)
        _refuse_unknown(config, revision, others)
        _leave_users_alone(connection, db.schema)
        last = next(_to_undo(config, revision, _applied(connection, db.schema)), None)
        if last is not None:
            before = ScriptDirectory.from_config(config).get_revision(last).down_revision
            _run(config, last, command.downgrade, f"{BRANCH}@{before or 'base'}")
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


def _to_come(config: Config, applied: set[str]) -> list[str]:
    """The revisions that are not applied yet, the next one first."""
    chain = _chain(config)
    if not applied:
        return chain
    (at,) = applied
    if at not in chain:
        raise SchemaError(
            f"the schema is at {at}, which this version does not know (it ends with "
            f"{chain[-1]}): a newer one has migrated it"
        )
    return chain[chain.index(at) + 1 :]


def _to_undo(config: Config, revision: str, applied: set[str]) -> Iterator[str]:
    """What is to be undone on the way to `revision`."""
    chain = _chain(config)
    there = [one for one in chain if one in applied]
    if there:
        first = 0 if revision == "base" else chain.index(revision) + 1
        yield from reversed(chain[first : chain.index(there[0]) + 1])


def _made_by(config: Config, applied: set[str]) -> list[str]:
    """The tables of the revisions that are applied."""
    to_come = _to_come(config, applied)  # raises if it is newer than what we know
    return [table for one in _chain(config) if one not in to_come for table in TABLES.get(one, ())]


def _ours() -> list[str]:
    """All tables that may be ours."""
    return [*(table for made in TABLES.values() for table in made), VERSION_TABLE]


def _chain(config: Config) -> list[str]:
    """The revisions, in order."""
    script = ScriptDirectory.from_config(config)
    return [one.revision for one in script.iterate_revisions("head", "base")][::-1]


def _refuse_unknown(config: Config, revision: str, others: Sequence[str]) -> None:
    known = [*_chain(config), *others]
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


def _refuse_foreign_tables(connection: Connection, config: Config) -> None:
    """Raise if a table is there already that a revision which is still to come would make."""
    schema = config.attributes["schema"]
    tables = set(inspect(connection).get_table_names(schema=schema))
    applied = _applied(connection, schema)
    for revision in _to_come(config, applied):
        for table in sorted(tables.intersection(TABLES.get(revision, ()))):
            raise SchemaError(
                f'schema "{schema}" already has a table {table} that is not ours. Set '
                "WORKER_DATABASE_SCHEMA to a schema of our own"
            )


def _applied(connection: Connection, schema: str) -> set[str]:
    """The revision that our tables are at; empty: there are none."""
    if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return set()
    statement = f"SELECT version_num FROM {quoted(schema)}.{VERSION_TABLE}"  # noqa: S608 - a quoted name
    return set(connection.execute(text(statement)).scalars()) - {NOT_OURS_ANY_MORE}


def _leave_users_alone(connection: Connection, schema: str) -> None:
    """Take the revision out that an application has now: Alembic knows it no more."""
    if not _applied(connection, schema):
        return
    forget = f"DELETE FROM {quoted(schema)}.{VERSION_TABLE} WHERE version_num = :gone"  # noqa: S608 - a quoted name
    if connection.execute(text(forget), {"gone": NOT_OURS_ANY_MORE}).rowcount:
        said = MADE_BEFORE.format(schema=schema)
        versions = Table(VERSION_TABLE, MetaData(), schema=schema, comment=said)
        connection.execute(SetTableComment(versions))
        logger.info(
            'the table users in schema "%s" is not ours any more but an application\'s; it stays '
            "as it is", schema,
        )  # fmt: skip
