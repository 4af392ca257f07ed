"""The migrations: equal to the models, up and down, two at once, beside foreign tables."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from asyncpg import CheckViolationError
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.types import TypeEngine

from tests.migrations.history import up_to
from uow import Database
from uow.db import migrations
from uow.db.attempts import start
from uow.db.migrations import steps
from uow.db.models import Base
from uow.db.whereabouts import VERSION_TABLE
from uow.errors import SchemaError
from uow.names import is_name
from uow.services.readiness import refuse_unmigrated
from uow.settings.queues import fault_in_name


@pytest.fixture
async def db(empty_database_url: str) -> AsyncIterator[Database]:
    async with Database(empty_database_url) as database:
        yield database


def of_another_type(
    context: MigrationContext,
    column: object,
    modelled: object,
    there: TypeEngine[Any],
    wanted: TypeEngine[Any],
) -> bool | None:
    """Alembic's own comparison, but that a domain stands for what it is made of."""
    _ = column, modelled
    if not isinstance(there, DOMAIN):
        return None
    made_of = there.data_type.compile(context.dialect).removesuffix(' COLLATE "default"')
    return made_of != wanted.compile(context.dialect)


async def tables(db: Database, schema: str = "worker") -> set[str]:
    async with db.engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names(schema)))


@pytest.mark.parametrize("schema", ["jobs", "Mixed_Case"])
async def test_an_empty_database_migrated_to_head_equals_the_models(
    empty_database_url: str, schema: str
) -> None:
    def differences(connection: Connection) -> list[object]:
        models = MetaData(naming_convention=Base.metadata.naming_convention)
        for table in Base.metadata.tables.values():
            for column in table.to_metadata(models, schema=schema).columns:
                if isinstance(column.type, DOMAIN):
                    column.type.schema = schema  # SQLAlchemy 2.0 leaves it without one
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": of_another_type,
                "compare_server_default": True,
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == schema,
                "version_table": VERSION_TABLE,
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
                "WHERE connamespace = CAST(:schema AS regnamespace) AND contypid = 0 "
                "UNION SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = :schema"
            ).bindparams(schema=schema),
            {},
        )
        return {
            (name, definition.replace(f"{schema}.", ""))
            for name, definition in map(tuple, constraints)
            if not name.startswith(VERSION_TABLE)
        }

    await db.execute_once(text("CREATE SCHEMA models"), {})
    async with Database(db.engine.url, schema="models") as modelled:
        async with modelled.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
    await migrations.upgrade(db)
    assert await described("worker") == await described("models")


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
    ours = {"task", "task_error", "worker_process", "worker_leader"}
    ours |= {"worker_identity", "worker_app", "audit", "audit_arguments", "bulk_act", "pause"}
    ours |= {"act_answer"}
    ours |= {"worker_code"}
    ours |= {"schedule", "schedule_version", "schedule_tick"}
    ours |= {"rollup_inbox", "rollup_source", "rollup", "rollup_hour", "rollup_error",
             "rollup_error_day"}  # fmt: skip
    assert await tables(db) == {*ours, VERSION_TABLE}


@pytest.mark.parametrize("table", ["task", "schedule"])
async def test_a_foreign_table_of_one_of_our_names_stops_the_migration_with_a_hint(
    db: Database, table: str
) -> None:
    await db.execute_once(text(f"CREATE TABLE {table} (theirs text)"), {})
    async with Database(db.engine.url, schema="public") as theirs:
        with pytest.raises(
            SchemaError, match=f"already has a table {table} .*WORKER_DATABASE_SCHEMA"
        ):
            await migrations.upgrade(theirs)
    assert await tables(db, "public") == {table}


async def test_so_does_one_that_only_a_revision_after_the_next_would_make(db: Database) -> None:
    await migrations.upgrade(db)
    await migrations.downgrade(db, "tasks_007")
    async with Database(db.engine.url, schema="worker") as ours:
        await ours.execute_once(text("CREATE TABLE worker.worker_app (theirs text)"), {})
        with pytest.raises(SchemaError, match="already has a table worker_app that is not ours"):
            await migrations.upgrade(ours, rewrite=True)
        at = text("SELECT version_num FROM worker.worker_alembic_version ORDER BY 1")
        assert list((await ours.execute_once(at, {})).scalars()) == ["tasks_007"]
        await ours.execute_once(text("DROP TABLE worker.worker_app"), {})
        await migrations.upgrade(ours)
        await refuse_unmigrated(ours)


@pytest.mark.parametrize("schema", ['our"own', "two words: :one"])
async def test_a_schema_may_have_a_name_that_needs_quoting(db: Database, schema: str) -> None:
    async with Database(db.engine.url, schema=schema) as ours:
        await migrations.upgrade(ours)
        await refuse_unmigrated(ours)
        await migrations.downgrade(ours, "base")
    left = text("SELECT count(*) FROM pg_tables WHERE schemaname = :schema")
    assert (await db.execute_once(left, {"schema": schema})).scalar_one() == 0


async def test_a_foreign_users_table_is_no_matter(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE users (theirs text)"), {})
    async with Database(db.engine.url, schema="public") as public:
        await migrations.upgrade(public)
    assert "task" in await tables(db, "public")


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
        await start(db, task_id, "w")
    await db.execute_once(text("SELECT pg_stat_force_next_flush()"), {})
    statistics = await db.execute_once(
        text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'task'"), {}
    )
    updated, heap_only = tuple(statistics.one())
    assert updated == 100
    assert heap_only >= 95


OUT_OF_BOUNDS = {
    "never due": "run_at = 'infinity'",
    "always due": "run_at = '-infinity'",
    "before Redis's numbers": "run_at = '1969-12-31 00:00:00+00'",
    "a priority below": "priority = -1",
    "a priority above": "priority = 10",
    "no name": "name = ''",
    "a name of two lines": r"name = E'two\nlines'",
    "a name with C1 controls": r"name = E'c1\u0085'",
    "a name without end": "name = repeat('x', 513)",
    "no queue": "queue = ''",
    "a queue of two lines": r"queue = E'two\nlines'",
    "a queue without end": "queue = repeat('x', 513)",
}


@pytest.mark.parametrize("said", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS.keys())
async def test_a_row_out_of_bounds_is_refused_by_the_table(db: Database, said: str) -> None:
    await migrations.upgrade(db)
    await db.execute_once(text("INSERT INTO task (name) VALUES ('fine')"), {})
    with pytest.raises(CheckViolationError):
        await db.execute_once(text(f"UPDATE task SET {said}"), {})


@pytest.mark.parametrize("column", ["name", "queue"])
async def test_the_bounds_of_names_are_those_of_python(db: Database, column: str) -> None:
    """But for ends of lines that only UTF-8 has, and queues that would be other keys."""
    await migrations.upgrade(db)
    values = "(name) VALUES (CAST(:name AS text))"
    if column == "queue":
        values = "(name, queue) VALUES ('x', CAST(:name AS text))"
    for name in (
        "ordinary.name",
        "mit Umlaut äöü",
        "Łódź",
        "x" * 512,
        "名前",
        "tab\t",
        "\x7f",
        "\x9f",
    ):
        insert = text(f"INSERT INTO task {values}")
        try:
            await db.execute_once(insert, {"name": name})
        except CheckViolationError:
            assert not is_name(name), name
            assert fault_in_name(name) is not None, name
        else:
            assert is_name(name), name
            assert fault_in_name(name) is None, name


async def test_rows_that_are_there_are_brought_into_bounds_or_settled(db: Database) -> None:
    await migrations.upgrade(db)
    await migrations.downgrade(db, "tasks_003")
    for n, said in enumerate(OUT_OF_BOUNDS.values()):
        column, value = said.split(" = ")
        columns = "name, " if column != "name" else ""
        given = "'fine', " if column != "name" else ""
        for state, settled in (("queued", "NULL"), ("succeeded", "now()")):
            await db.execute_once(
                text(
                    f"INSERT INTO task ({columns}{column}, args, state, settled_at) VALUES "
                    f"({given}{value}, CAST(:args AS jsonb), '{state}', {settled})"
                ),
                {"args": f'{{"n": {n}}}'},
            )
    await migrations.upgrade(db)
    found = await db.execute_once(
        text("SELECT CAST(args ->> 'n' AS integer) AS n, state, priority, name, error_type "
             "FROM task LEFT JOIN task_error ON task_id = task.id ORDER BY 1, 2"),
        {},
    )  # fmt: skip
    rows = found.all()
    assert {row.n for row in rows if row.state == "failed"} == {0, 5, 6, 7, 8, 9, 10, 11}
    assert {row.error_type for row in rows if row.state == "failed"} == {"InvalidTask"}
    assert {row.n for row in rows if row.state == "queued"} == {1, 2, 3, 4}
    assert {row.error_type for row in rows if row.state != "failed"} == {None}
    assert len([row for row in rows if row.state == "succeeded"]) == len(OUT_OF_BOUNDS)
    assert {row.priority for row in rows if row.n in (3, 4)} == {0, 9}
    assert {row.name for row in rows if row.n == 6} == {"two?lines"}


async def test_the_bounds_become_domains_and_no_row_is_written_anew(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def file() -> object:
        found = text("SELECT relfilenode FROM pg_class WHERE oid = CAST('task' AS regclass)")
        return (await db.execute_once(found, {})).scalar_one()

    await migrations.upgrade(db)
    await migrations.downgrade(db, "tasks_006")
    await db.execute_once(text("INSERT INTO task (name, priority) VALUES ('there', 3)"), {})
    before = await file()
    up_to(monkeypatch, "tasks_007")
    await migrations.upgrade(db)
    assert await file() == before
    kept = await db.execute_once(text("SELECT name, priority, queue FROM task"), {})
    assert kept.one() == ("there", 3, "arq:queue")
    with pytest.raises(CheckViolationError, match="ck_task_priority"):
        await db.execute_once(text("UPDATE task SET priority = 11"), {})


async def test_a_view_on_columns_whose_types_change_is_named(db: Database) -> None:
    await migrations.upgrade(db)
    await migrations.downgrade(db, "tasks_006")
    await db.execute_once(text("CREATE VIEW harmless AS SELECT id, state FROM task"), {})
    await db.execute_once(text('CREATE VIEW "By Queue" AS SELECT queue FROM task'), {})
    with pytest.raises(SchemaError, match='types change: public."By Queue". Drop them'):
        await migrations.upgrade(db)
    await db.execute_once(text('DROP VIEW "By Queue"'), {})
    await migrations.upgrade(db)
    await refuse_unmigrated(db)


async def test_a_step_that_gets_no_lock_names_who_holds_it_and_what_was_done_stays(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await migrations.upgrade(db)
    await migrations.downgrade(db, "tasks_003")
    monkeypatch.setattr(steps, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(steps, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(steps, "TRIES", 2)
    async with Database(db.engine.url) as other, other.engine.begin() as holder:
        await holder.execute(text("SELECT FROM task"))
        pid = await holder.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(SchemaError, match=f"2 times for 0.05 s: process {pid} of .*migrate"):
            await migrations.upgrade(db)
        assert len([r for r in caplog.records if r.name == "uow.db.migrations.steps"]) == 2
    monkeypatch.setattr(steps, "TRIES", 20)
    await migrations.upgrade(db)
    await refuse_unmigrated(db)


async def test_each_revision_has_a_transaction_of_its_own(db: Database) -> None:
    await migrations.upgrade(db)
    await migrations.downgrade(db, "base")
    await migrations.upgrade(db)
    writers = await db.execute_once(
        text("SELECT count(DISTINCT CAST(xmin AS text)) FROM pg_class WHERE relname IN "
             "('task_error', 'worker_leader', 'schedule')"),
        {},
    )  # fmt: skip
    assert writers.scalar_one() == 3


async def test_a_schema_that_is_newer_than_the_code_is_refused(db: Database) -> None:
    await migrations.upgrade(db)
    await db.execute_once(
        text(f"UPDATE {VERSION_TABLE} SET version_num = 'tasks_999' "
             "WHERE version_num LIKE 'tasks%'"),
        {},
    )  # fmt: skip
    with pytest.raises(SchemaError, match="at tasks_999, which this version does not know"):
        await migrations.upgrade(db)
