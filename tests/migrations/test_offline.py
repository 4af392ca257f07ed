"""`worker migrate --sql`: the statements as text make what `worker migrate` makes."""

import re
from collections.abc import Iterable

import asyncpg
import pytest
from sqlalchemy import text

from tests.migrations.history import up_to
from tests.processes import run_command
from uow import Database, Settings
from uow.db import migrations
from uow.db.migrations.offline import BASE, statements
from uow.db.migrations.standing import chain
from uow.errors import SchemaError

SHAPE = """
SELECT 'column ' || c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
       || a.attnotnull || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(c.reloptions::text, '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'worker'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT attisdropped
UNION ALL SELECT 'index ' || pg_get_indexdef(i.indexrelid) || i.indisvalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE relnamespace = 'worker'::regnamespace
UNION ALL SELECT 'constraint ' || conname || pg_get_constraintdef(oid) || convalidated
FROM pg_constraint WHERE connamespace = 'worker'::regnamespace
UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
WHERE relnamespace = 'worker'::regnamespace AND NOT tgisinternal
UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'worker'::regnamespace
UNION ALL SELECT 'grants ' || relname || ' ' || relacl::text FROM pg_class
WHERE relnamespace = 'worker'::regnamespace AND relacl IS NOT NULL
UNION ALL SELECT 'at ' || version_num FROM worker.worker_alembic_version
"""  # noqa: E501


async def say(url: str, steps: Iterable[str]) -> None:
    """Run them as psql would: each statement for itself."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for step in steps:
            for statement in re.sub("^--.*\n", "", step, flags=re.MULTILINE).split(";\n\n"):
                if statement.strip():
                    await connection.execute(statement)
    finally:
        await connection.close()


async def shape(db: Database) -> set[str]:
    async with db.engine.connect() as connection:
        return {*(await connection.exec_driver_sql(SHAPE)).scalars()}


async def test_from_nothing_they_make_the_same_tables(
    db: Database, empty_database_url: str
) -> None:
    await say(empty_database_url, statements("worker", BASE))
    async with Database(empty_database_url) as made:
        assert await shape(made) == await shape(db)
        await migrations.upgrade(made)  # there is nothing to do


@pytest.mark.parametrize("start", ["tasks_002", "tasks_008", "tasks_010"])
async def test_from_a_revision_on_they_make_the_same_tables_and_grants(
    db: Database, empty_database_url: str, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(empty_database_url) as made:
        with monkeypatch.context() as older:
            up_to(older, start)
            await migrations.upgrade(made)
        grant = "GRANT SELECT, UPDATE ON worker.worker_process TO PUBLIC"
        await made.execute_once(text(grant), {})
        await say(empty_database_url, statements("worker", start))
        found = await shape(made)
    granted = {one for one in found if one.startswith("grants ")}
    assert found - granted == await shape(db)
    assert {one.split()[1] for one in granted if "=rw/" in one} >= {
        "worker_process", "worker_identity", "worker_app",
    }  # fmt: skip


async def test_where_the_schema_is_elsewhere_they_stop(db: Database, database_url: str) -> None:
    before = await shape(db)
    with pytest.raises(asyncpg.RaiseError, match="the schema is not at tasks_008"):
        await say(database_url, statements("worker", "tasks_008"))
    with pytest.raises(asyncpg.DuplicateTableError):
        await say(database_url, statements("worker", BASE))
    assert await shape(db) == before


async def test_where_a_worker_lives_the_tasks_are_not_written_anew(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    up_to(monkeypatch, "tasks_008")
    async with Database(empty_database_url) as db:
        await migrations.upgrade(db)
        alive = "INSERT INTO worker.worker_process (id, queue, running) VALUES ('a', 'q', '{}')"
        await db.execute_once(text(alive), {})
    with pytest.raises(asyncpg.RaiseError, match="under a live worker"):
        await say(empty_database_url, statements("worker", "tasks_008"))


def test_an_unknown_revision_is_refused_and_the_newest_has_nothing_to_come() -> None:
    with pytest.raises(SchemaError, match="no revision tasks_999; there are base and tasks_001"):
        list(statements("worker", "tasks_999"))
    assert list(statements("worker", chain()[-1])) == []


async def test_the_command_prints_them_and_connects_to_nothing(settings: Settings) -> None:
    nowhere = {"WORKER_DATABASE_URL": "", "WORKER_REDIS_URL": "redis://127.0.0.1:1/0"}
    printed = await run_command(settings, "migrate", "--sql", **nowhere)
    told = "worker: those of worker.migrations are not in this\n"
    assert (printed.returncode, printed.stderr) == (0, told)
    steps = list(statements("worker", BASE))
    assert printed.stdout == "".join(f"{step}\n" for step in steps)
    some = await run_command(
        settings, "migrate", "--sql", "--from", "tasks_010", WORKER_DATABASE_SCHEMA="mine"
    )
    assert some.stdout.startswith("-- tasks_011\nBEGIN;")
    assert 'FROM "mine".worker_alembic_version' in some.stdout
    both = await run_command(settings, "migrate", "--sql", "--down", "base")
    assert (both.returncode, "exclude each other" in both.stderr) == (1, True)
    alone = await run_command(settings, "migrate", "--from", "tasks_010")
    assert (alone.returncode, "--from needs --sql" in alone.stderr) == (1, True)
