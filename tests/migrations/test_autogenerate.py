"""A service's own `alembic revision --autogenerate` beside our tables."""

from collections.abc import Callable

from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateTableOp, DropTableOp, MigrateOperation
from sqlalchemy import Column, Integer, MetaData, Table, Text, text

from uow import Database, include_object
from uow.db import migrations
from uow.db.autogenerate import OUR_TABLES


async def made(db: Database, metadata: MetaData, **options: object) -> list[MigrateOperation]:
    """What Alembic would do to the database."""
    async with db.engine.connect() as connection:
        await connection.execute(text("SET search_path TO public"))
        return await connection.run_sync(
            lambda sync: list(
                produce_migrations(
                    MigrationContext.configure(sync, opts=options), metadata
                ).upgrade_ops.ops  # type: ignore[union-attr]
            )
        )


def tables(operations: list[MigrateOperation], kind: type) -> set[str]:
    return {one.table_name for one in operations if isinstance(one, kind)}  # type: ignore[attr-defined]


def theirs(*names: str) -> MetaData:
    metadata = MetaData()
    for name in names:
        Table(name, metadata, Column("id", Integer, primary_key=True), Column("mine", Text))
    return metadata


def is_ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "schema" or name in (None, "public", "worker")


async def test_our_tables_are_out_of_its_sight(database_url: str) -> None:
    async with Database(database_url) as db:
        operations = await made(db, theirs("orders", "task", "users"))
    assert tables(operations, CreateTableOp) == {"orders", "task", "users"}
    assert len(operations) == 3


async def test_in_one_schema_for_everything_it_leaves_ours_alone_and_nothing_else(
    empty_database_url: str,
) -> None:
    async with Database(empty_database_url, schema="public") as db:
        await migrations.upgrade(db)
        for name in ("users", "gone"):
            await db.execute_once(text(f"CREATE TABLE {name} (id int PRIMARY KEY)"), {})
        metadata = theirs("orders", "users")
        without = await made(db, metadata)
        assert {"task", "schedule", "worker_alembic_version"} <= tables(without, DropTableOp)
        operations = await made(db, metadata, include_object=include_object)
    assert tables(operations, CreateTableOp) == {"orders"}
    assert tables(operations, DropTableOp) == {"gone"}
    compared = [one for one in operations if not isinstance(one, CreateTableOp | DropTableOp)]
    assert [one.table_name for one in compared] == ["users"]  # type: ignore[attr-defined]


async def test_who_compares_all_schemas_leaves_ours_alone(database_url: str) -> None:
    options: dict[str, Callable[..., bool] | bool] = {
        "include_schemas": True, "include_name": is_ours,
    }  # fmt: skip
    async with Database(database_url) as db:
        assert tables(await made(db, theirs(), **options), DropTableOp) == OUR_TABLES
        assert await made(db, theirs(), **options, include_object=include_object) == []


def test_what_counts_as_ours_is_what_the_migrations_make() -> None:
    made = {table for tables in migrations.TABLES.values() for table in tables}
    assert {*made, migrations.VERSION_TABLE} == OUR_TABLES
