"""The step that writes the table anew, and the indexes that are made while everybody goes on."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.migrations.history import up_to
from uow import Database
from uow.db import fleet, migrations
from uow.db.migrations import rewriting, steps
from uow.db.whereabouts import VERSION_TABLE
from uow.errors import SchemaError
from uow.services.readiness import refuse_unmigrated

PUT = text(
    """
    INSERT INTO task (name, args, state, result, progress, settled_at)
    VALUES (CAST(:state AS text), CAST(:args AS jsonb), :state, CAST(:args AS jsonb),
            CAST(:args AS jsonb), CASE WHEN :settled THEN now() END)
    """
)
STATES = ("scheduled", "queued", "running", "retrying", "succeeded", "failed", "cancelled")
LIVES = text("INSERT INTO worker_process (id, queue, running) VALUES ('host:7:a', 'mail', '{}')")


@pytest.fixture
async def db(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database of before, with a task in every state."""
    async with Database(empty_database_url) as database:
        with monkeypatch.context() as earlier:
            up_to(earlier, "tasks_007")
            await migrations.upgrade(database)
        for state in STATES:
            row = {"state": state, "args": '{"zebra": 1, "ant": ["ü", null]}'}
            settled = state in ("succeeded", "failed", "cancelled")
            await database.execute_once(PUT, {**row, "settled": settled})
        yield database


async def upgrade(db: Database, *, rewrite: bool = False) -> None:
    await migrations.upgrade(db, rewrite=rewrite)


async def revision(db: Database) -> str:
    found = await db.execute_once(text(f"SELECT version_num FROM {VERSION_TABLE}"), {})
    return str(found.scalar_one())


async def indexes(db: Database) -> dict[str, tuple[bool, str]]:
    """Those of our two tables: whether they are valid, and on what they are."""
    found = await db.execute_once(
        text("SELECT CAST(relname AS text), indisvalid, "
             "split_part(pg_get_indexdef(indexrelid), ' btree ', 2) "
             "FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
             "WHERE indrelid IN (CAST('task' AS regclass), CAST('task_error' AS regclass))"),
        {},
    )  # fmt: skip
    return {name: (valid, on) for name, valid, on in map(tuple, found)}


async def test_every_row_is_kept_and_says_how_it_ended(db: Database) -> None:
    await upgrade(db)
    await refuse_unmigrated(db)
    rows = await db.execute_once(
        text("SELECT state, ended, args -> 'ant' ->> 0 = 'ü' AND progress ->> 'zebra' = '1' "
             "AND CAST(args AS text) = CAST(result AS text) FROM task"),
        {},
    )  # fmt: skip
    assert {tuple(row) for row in rows} == {
        (state, state if state in ("failed", "cancelled") else None, True) for state in STATES
    }
    await migrations.downgrade(db, "tasks_007")
    there = text("SELECT count(*) FROM task WHERE args = result AND args = progress")
    assert (await db.execute_once(there, {})).scalar_one() == len(STATES)
    await upgrade(db)


async def test_the_table_is_written_anew_once(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the room that it is to have from then on."""

    async def file() -> tuple[int, list[str] | None]:
        found = text("SELECT relfilenode, reloptions FROM pg_class WHERE relname = 'task'")
        node, options = tuple((await db.execute_once(found, {})).one())
        return node, options

    with monkeypatch.context() as earlier:
        up_to(earlier, "tasks_008")
        before = await file()
        await upgrade(db)
        there, options = await file()
        assert there == before[0]
        assert options is not None
        assert "fillfactor=50" in options
    with monkeypatch.context() as earlier:
        up_to(earlier, "tasks_009")
        await upgrade(db)
        rewritten, _ = await file()
        assert rewritten != there
    await upgrade(db)
    assert (await file())[0] == rewritten


async def test_what_an_older_worker_writes_is_taken(db: Database) -> None:
    await upgrade(db)
    args = {"state": "queued", "args": '{"n": 1}', "settled": False}
    await db.execute_once(PUT, args)
    await db.execute_once(
        text("UPDATE task SET state = 'succeeded', settled_at = now(), "
             "result = CAST(:result AS jsonb) WHERE name = 'queued'"),
        {"result": "[1]"},
    )  # fmt: skip


async def test_nothing_is_written_anew_while_a_worker_lives(db: Database) -> None:
    await db.execute_once(LIVES, {})
    said = r"under a live worker; .*host:7:a \(queue mail, 0 s ago\)\. Stop all workers and migrate"
    with pytest.raises(SchemaError, match=said):
        await upgrade(db)
    assert await revision(db) == "tasks_008"  # what needs no rewrite is done, and stays
    with pytest.raises(SchemaError, match="task.headers: run `worker migrate` first"):
        await refuse_unmigrated(db)
    await fleet.leave(db, "host:7:a")
    await upgrade(db)
    await refuse_unmigrated(db)


async def test_a_worker_that_was_killed_counts_for_a_minute(db: Database) -> None:
    await db.execute_once(LIVES, {})
    await db.execute_once(
        text("UPDATE worker_process SET heartbeat_at = now() - interval '61 seconds'"), {}
    )
    await upgrade(db)


async def test_many_tasks_are_written_anew_only_if_somebody_asks_for_it(
    db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rewriting, "MOST_ROWS", 6)
    with pytest.raises(
        SchemaError, match=r"^7 tasks .* about 1 s .*run `worker migrate --rewrite`"
    ):
        await upgrade(db)
    assert await revision(db) == "tasks_008"
    assert not [one for one in caplog.records if one.name == "uow.db.migrations.rewriting"]
    await upgrade(db, rewrite=True)
    (said,) = [one.message for one in caplog.records if one.name == "uow.db.migrations.rewriting"]
    assert said.startswith("7 tasks are written anew, which takes about 1 s")
    with pytest.raises(SchemaError, match="--rewrite"):
        await migrations.downgrade(db, "tasks_008")
    await migrations.downgrade(db, "tasks_008", rewrite=True)


async def test_the_server_is_believed_that_there_are_many(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.execute_once(text("ANALYZE task"), {})
    monkeypatch.setattr(rewriting, "MOST_ROWS", 2)
    monkeypatch.setattr(rewriting, "SECONDS_PER_ROW", 10.0)
    with pytest.raises(SchemaError, match="^7 tasks are written anew, which takes about 70 s"):
        await upgrade(db)


@pytest.mark.parametrize("what", ["VIEW seen AS SELECT result FROM task",
                                  "INDEX seen ON task USING gin (args)"])  # fmt: skip
async def test_what_is_made_of_a_column_whose_type_changes_is_named(
    db: Database, what: str
) -> None:
    await db.execute_once(text(f"CREATE {what}"), {})
    with pytest.raises(SchemaError, match=r"types change: (public|worker)\.seen\. Drop"):
        await upgrade(db)
    await db.execute_once(text(f"DROP {what.split()[0]} seen"), {})
    await upgrade(db)


WORDS = {
    "an escaped NUL": r'{"a": "\u0000"}',
    "half a pair": r'{"a": "\ud83d"}',
    "the other half": r'{"a": "\ude00"}',
    "no object": "[1]",
    "an object in a text": '"{}"',
}


@pytest.mark.parametrize("args", WORDS.values(), ids=WORDS.keys())
async def test_arguments_that_nothing_could_read_are_refused_when_they_are_inserted(
    db: Database, args: str
) -> None:
    await upgrade(db)
    insert = text("INSERT INTO task (name, args) VALUES ('x', CAST(:args AS json))")
    with pytest.raises((asyncpg.UntranslatableCharacterError,
                        asyncpg.InvalidTextRepresentationError,
                        asyncpg.CheckViolationError)):  # fmt: skip
        await db.execute_once(insert, {"args": args})
    for fine in (r'{"a": "\ud83d\ude00"}', r'{"a": "\\u0000"}', r'{"a": "\u001f"}', "{}"):
        await db.execute_once(insert, {"args": fine})


async def test_indexes_are_what_they_are_to_be(db: Database) -> None:
    await upgrade(db)
    there = await indexes(db)
    assert all(valid for valid, _ in there.values())
    assert {name: on for name, (_, on) in there.items()} | {
        "ix_task_ended": "(ended, id) WHERE (ended IS NOT NULL)",
        "ix_task_user": "(user_id, id) WHERE (user_id IS NOT NULL)",
        "ix_task_error_error_type": "(error_type, id)",
        "ix_task_error_failed_at": "(failed_at)",
    } == {name: on for name, (_, on) in there.items()}
    for column in ("state", "worker", "name", "queue", "args"):
        assert not [on for _, on in there.values() if column in on.replace("(", " ").split()]


async def test_an_index_that_is_cut_short_is_made_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    building = text("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND query LIKE 'CREATE INDEX CONCURRENTLY%'")  # fmt: skip
    async with Database(db.engine.url) as other, other.engine.begin() as holder:
        with monkeypatch.context() as earlier:
            up_to(earlier, "tasks_009")
            await upgrade(db)
        await holder.execute(text("DELETE FROM task WHERE name = 'queued'"))
        migrating = asyncio.create_task(upgrade(db))
        async with asyncio.timeout(20):
            while (pid := (await other.execute_once(building, {})).scalar()) is None:
                assert not migrating.done()
        await other.execute_once(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(DBAPIError):
            await migrating
        assert (await indexes(db))["ix_task_ended"][0] is False
        assert await revision(db) == "tasks_009"
    await upgrade(db)
    assert all(valid for valid, _ in (await indexes(db)).values())


async def test_an_index_that_waits_for_too_long_says_for_whom(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "CONCURRENT_LOCK_SECONDS", 0.05)
    with monkeypatch.context() as earlier:
        up_to(earlier, "tasks_009")
        await upgrade(db)
    async with Database(db.engine.url) as other, other.engine.begin() as holder:
        await holder.execute(text("DELETE FROM task WHERE name = 'queued'"))
        pid = await holder.scalar(text("SELECT pg_backend_pid()"))
        with pytest.raises(SchemaError, match=f"open for 0.05 s: process {pid} of .*migrate again"):
            await upgrade(db)
    await upgrade(db)
    assert all(valid for valid, _ in (await indexes(db)).values())
