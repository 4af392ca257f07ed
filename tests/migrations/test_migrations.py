"""The migrations: equal to the models, up and down, two at once, beside foreign tables."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text

from worker import Database
from worker.db import migrations
from worker.db.models import Base
from worker.errors import SchemaError
from worker.services.readiness import refuse_unmigrated


@pytest.fixture
async def db(empty_database_url: str) -> AsyncIterator[Database]:
    async with Database(empty_database_url) as database:
        yield database


async def tables(db: Database, schema: str = "public") -> set[str]:
    async with db.engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names(schema)))


@pytest.mark.parametrize("schema", ["jobs", "Mixed_Case"])
async def test_an_empty_database_migrated_to_head_equals_the_models(
    empty_database_url: str, schema: str
) -> None:
    def differences(connection: Connection) -> list[object]:
        models = MetaData(naming_convention=Base.metadata.naming_convention)
        for table in Base.metadata.tables.values():
            table.to_metadata(models, schema=schema)
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == schema,
                "version_table": migrations.VERSION_TABLE,
                "version_table_schema": schema,
            },
        )
        return list(compare_metadata(context, models))

    async with Database(empty_database_url, schema=schema) as db:
        await migrations.upgrade(db)
        async with db.engine.connect() as connection:
            await connection.execute(text("SET search_path TO pg_catalog"))
            assert await connection.run_sync(differences) == []


async def test_check_constraints_and_partial_indexes_equal_the_models(db: Database) -> None:
    """What Alembic's comparison does not look at."""

    async def described(schema: str) -> set[tuple[str, str]]:
        constraints = await db.execute_once(
            text(
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
                "WHERE connamespace = CAST(:schema AS regnamespace) "
                "UNION SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = :schema"
            ).bindparams(schema=schema),
            {},
        )
        return {
            (name, definition.replace(f"{schema}.", ""))
            for name, definition in constraints
            if not name.startswith(migrations.VERSION_TABLE)
        }

    await db.execute_once(text("CREATE SCHEMA models"), {})
    async with Database(db.engine.url, schema="models") as modelled:
        async with modelled.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
    await migrations.upgrade(db)
    assert await described("public") == await described("models")


async def test_down_to_base_and_up_again(db: Database) -> None:
    await migrations.upgrade(db)
    await migrations.downgrade(db, "base")
    assert await tables(db) == set()
    functions = await db.execute_once(
        text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'worker%'"), {}
    )
    assert functions.scalar_one() == 0
    await migrations.upgrade(db)
    await refuse_unmigrated(db)


async def test_an_unknown_revision_is_told_with_those_that_there_are(db: Database) -> None:
    await migrations.upgrade(db)
    with pytest.raises(SchemaError, match="nope.*there are base and .*tasks_001"):
        await migrations.downgrade(db, "nope")


async def test_two_processes_may_migrate_at_once(empty_database_url: str) -> None:
    async def migrate() -> None:
        async with Database(empty_database_url) as db:
            await migrations.upgrade(db)

    await asyncio.gather(*(migrate() for _ in range(4)))


async def test_migrating_twice_changes_nothing(db: Database) -> None:
    await migrations.upgrade(db)
    await migrations.upgrade(db)
    ours = {"task", "task_error", "worker_process", "worker_leader", "users"}
    ours |= {"schedule", "schedule_version", "schedule_tick"}
    assert await tables(db) == {*ours, migrations.VERSION_TABLE}


async def test_without_the_builtin_tasks_there_are_no_users_until_they_are_wanted(
    db: Database,
) -> None:
    await migrations.upgrade(db, builtin_tasks=False)
    assert "users" not in await tables(db)
    await migrations.upgrade(db)
    assert "users" in await tables(db)


@pytest.mark.parametrize("table", ["task", "users"])
async def test_a_foreign_table_of_one_of_our_names_stops_the_migration_with_a_hint(
    db: Database, table: str
) -> None:
    await db.execute_once(text(f"CREATE TABLE {table} (theirs text)"), {})
    with pytest.raises(SchemaError, match=f"already has a table {table} .*WORKER_DATABASE_SCHEMA"):
        await migrations.upgrade(db)
    assert await tables(db) == {table}
    async with Database(db.engine.url, schema="worker") as ours:
        await migrations.upgrade(ours)
        await refuse_unmigrated(ours)


async def test_a_foreign_users_table_is_no_matter_without_the_builtin_tasks(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE users (theirs text)"), {})
    await migrations.upgrade(db, builtin_tasks=False)
    assert "task" in await tables(db)


async def test_an_alembic_history_of_the_services_own_is_left_alone(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE alembic_version (version_num text)"), {})
    await db.execute_once(text("INSERT INTO alembic_version VALUES ('theirs')"), {})
    await migrations.upgrade(db)
    theirs = await db.execute_once(text("SELECT version_num FROM alembic_version"), {})
    assert theirs.scalars().all() == ["theirs"]


async def test_a_database_without_our_tables_is_refused_with_the_command(db: Database) -> None:
    with pytest.raises(SchemaError, match="run `worker migrate` first"):
        await refuse_unmigrated(db)


async def test_the_start_of_an_attempt_is_a_heap_only_update(db: Database) -> None:
    await migrations.upgrade(db)
    await db.execute_once(
        text("INSERT INTO task (name) SELECT 'hot' FROM generate_series(1, 100)"), {}
    )
    found = await db.execute_once(text("SELECT id FROM task"), {})
    for task_id in found.scalars():
        await db.execute_once(db.queries.start, {"id": task_id, "worker": "w", "take_over": False})
    await db.execute_once(text("SELECT pg_stat_force_next_flush()"), {})
    statistics = await db.execute_once(
        text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'task'"), {}
    )
    updated, heap_only = statistics.one()
    assert updated == 100
    assert heap_only >= 95
