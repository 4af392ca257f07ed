"""What is wrong with Postgres."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import psycopg2.extras  # type: ignore[import-untyped]
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from tests.integration.doctor.conftest import LEADER, Find, Say
from tests.pgbouncer import pgbouncer
from uow import Database, Settings
from uow.db import fleet, migrations, server_facts
from uow.db.server_facts import ServerFacts
from uow.embedded import EmbeddedPostgres
from uow.questions.doctor import postgres as subject
from uow.questions.doctor.examination import examine
from uow.questions.doctor.visit import CodeHere

pytestmark = pytest.mark.usefixtures("healthy")


def libpq(url: str) -> str:
    return url.replace("+asyncpg", "")


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the server be another one in some facts."""
    asked = server_facts.server_facts

    def be(**other: object) -> None:
        async def pretended(db: Any) -> ServerFacts:
            return replace(await asked(db), **other)  # type: ignore[arg-type]

        monkeypatch.setattr(server_facts, "server_facts", pretended)

    return be


async def test_one_that_is_too_old_is_told(find: Find, pretend: Any) -> None:
    pretend(version=120022)
    assert (await find())["postgres.version"].proof == "it is 12.22"


async def test_one_that_takes_no_writes_is_told(find: Find, pretend: Any) -> None:
    pretend(standby=True)
    assert {*await find()} == {"postgres.read-only"}


async def test_too_few_connections_for_all_pools_are_told_with_the_sum(
    find: Find, say: Say, database_url: str
) -> None:
    found = await find(pool_size=120)
    assert {*found} == {"postgres.connections"}
    assert "2 processes with up to 121 connections need 242" in found["postgres.connections"].proof
    name = make_url(database_url).database
    await say(f"ALTER DATABASE {name} CONNECTION LIMIT 20")
    found = await find(pool_size=10)
    assert "the database's CONNECTION LIMIT leaves 20" in found["postgres.connections"].proof


async def test_autovacuum_that_is_off_is_told(find: Find, say: Say, pretend: Any) -> None:
    await say("ALTER TABLE task SET (autovacuum_enabled = false)")
    assert {*await find()} == {"postgres.autovacuum-off"}
    await say("ALTER TABLE task RESET (autovacuum_enabled)")
    assert await find() == {}
    pretend(vacuums=False)
    assert {*await find()} == {"postgres.autovacuum-off"}


async def test_autovacuum_that_is_behind_is_told(
    find: Find, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "DEAD_ROWS", 100)
    connection = psycopg2.connect(libpq(database_url))
    connection.autocommit = True
    cursor = connection.cursor()
    later = "now() + interval '1 day'"
    cursor.execute(
        f"INSERT INTO task (name, run_at, dispatch_at) SELECT 'a', {later}, {later} "
        "FROM generate_series(1, 1000)"
    )
    cursor.execute("VACUUM ANALYZE task")
    cursor.execute("UPDATE task SET priority = 1")
    connection.close()  # which tells what it has counted
    for _ in range(100):
        if found := await find():
            break
        await asyncio.sleep(0.05)
    assert {*found} == {"postgres.autovacuum-behind"}
    assert found["postgres.autovacuum-behind"].mend.startswith('VACUUM (ANALYZE) "worker".task')
    monkeypatch.setattr(subject, "DEAD_ROWS", 10_000)
    assert await find() == {}


async def test_a_transaction_that_has_been_open_for_long_is_told_with_the_line_that_ends_it(
    find: Find, settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = psycopg2.connect(libpq(database_url))
    connection.cursor().execute("SELECT 1")
    assert await find() == {}
    monkeypatch.setattr(subject, "OPEN_SECONDS", 0.0)
    found, _ = await examine(settings, CodeHere(rowless=()))  # the doctor's own are younger
    told = next(one for one in found if one.id == "postgres.old-transaction")
    assert told.mend == f"SELECT pg_terminate_backend({connection.info.backend_pid})"
    connection.close()


async def test_a_slot_without_a_reader_is_told_with_the_line_that_drops_it(
    find: Find, say: Say
) -> None:
    await say("SELECT pg_create_physical_replication_slot('left_behind', true)")
    try:
        found = await find()
        assert {*found} == {"postgres.idle-slot"}
        assert "left_behind" in found["postgres.idle-slot"].proof
    finally:
        await say(found["postgres.idle-slot"].mend.rpartition("or ")[2])
    assert await find() == {}


@contextmanager
def replica(url: str) -> Iterator[Any]:
    """What is for the server a replica that has applied everything until now."""
    kind = psycopg2.extras.PhysicalReplicationConnection
    connection = psycopg2.connect(libpq(url), connection_factory=kind)
    cursor = connection.cursor()
    cursor.execute("IDENTIFY_SYSTEM")
    at = int.from_bytes(b"".join(int(x, 16).to_bytes(4) for x in cursor.fetchone()[2].split("/")))
    cursor.start_replication(start_lsn=at)
    cursor.send_feedback(write_lsn=at, flush_lsn=at, apply_lsn=at, force=True)
    yield cursor
    connection.close()


async def test_a_replica_that_is_behind_is_told(
    find: Find, say: Say, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "LAG_BYTES", 2**20)
    with replica(database_url):
        for _ in range(100):
            if not (found := await find()):
                break
            await asyncio.sleep(0.05)
        assert found == {}
        await say("SELECT pg_logical_emit_message(true, 'a', repeat('x', 3000000))")
        assert {*await find()} == {"postgres.replica-lag"}


async def test_a_replica_that_is_not_shown_is_unknown(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hidden(_: object) -> list[server_facts.Replica]:
        return [server_facts.Replica("standby", None, None)]

    monkeypatch.setattr(server_facts, "replicas", hidden)
    assert {*await find()} == {"postgres.replica-unseen"}


@pytest.fixture(scope="module")
def preparing() -> Iterator[EmbeddedPostgres]:
    """A server that may prepare transactions."""
    with EmbeddedPostgres(settings={"max_prepared_transactions": "2"}) as server:
        yield server


async def test_a_prepared_transaction_that_nobody_ends_is_told_with_the_line_that_does(
    find: Find, preparing: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(preparing.url) as db:
        await migrations.upgrade(db)
        await fleet.lead(db, LEADER, 600.0)
        async with db.engine.connect() as connection:
            driver = await connection.execution_options(isolation_level="AUTOCOMMIT")
            for one in ("BEGIN", "SELECT txid_current()", "PREPARE TRANSACTION 'it''s mine'"):
                await driver.exec_driver_sql(one)
            url = SecretStr(preparing.url)
            assert "postgres.prepared" not in await find(database_url=url)
            monkeypatch.setattr(subject, "PREPARED_SECONDS", 0.0)
            told = (await find(database_url=url))["postgres.prepared"]
            await driver.exec_driver_sql(told.mend.partition(", or")[0])
            assert "postgres.prepared" not in await find(database_url=url)


async def test_a_proxy_that_is_not_there_is_told(find: Find) -> None:
    for said in (True, "transaction", "session"):
        assert {*await find(database_pooler=said)} == {"postgres.no-pooler"}


async def test_a_proxy_that_pools_transactions_is_told_where_the_setting_says_sessions(
    find: Find, database_url: str
) -> None:
    with pgbouncer(database_url, pool_mode="transaction") as url:
        assert {*await find(database_url=SecretStr(url))} == {
            "postgres.settings", "doctor.unlooked",
        }  # fmt: skip
        assert await find(database_url=SecretStr(url), database_pooler="transaction") == {}
        found = await find(database_url=SecretStr(url), database_pooler="session")
        assert "postgres.pooler-mode" in found
    with pgbouncer(database_url, pool_mode="session", default_pool_size="10") as url:
        assert await find(database_url=SecretStr(url), database_pooler="session") == {}


async def test_sessions_that_are_not_shown_are_unknown(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hidden(_: object) -> int:
        return 3

    monkeypatch.setattr(server_facts, "hidden_sessions", hidden)
    assert (await find())["postgres.sessions-hidden"].proof == "3 sessions of other roles"
