"""The whole: exit codes, what cannot be looked at, and that nothing is changed or told."""

import asyncio
import json

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.integration.doctor.conftest import Find, Say
from uow import Database, Settings
from uow.broker.redis import RedisClient
from uow.db import fleet
from uow.db.bounded import ReadOnly
from uow.db.statement import REAL, template
from uow.questions.doctor import examination
from uow.questions.doctor.examination import examine
from uow.questions.doctor.finding import KINDS, Finding, FindingKind, Severity, exit_code
from uow.questions.doctor.visit import CHECKS, Check, CodeHere, Needs, Visit


@pytest.mark.usefixtures("healthy")
async def test_of_a_healthy_fleet_nothing_is_said(settings: Settings) -> None:
    found, checks = await examine(settings, CodeHere(rowless=()))
    assert (found, exit_code(found)) == ([], 0)
    assert checks == len(CHECKS)


async def test_where_nothing_has_begun_only_that_is_said(find: Find) -> None:
    assert {*await find()} == {"fleet.nobody"}


def test_the_exit_code_is_that_of_the_worst() -> None:
    def one(severity: Severity) -> Finding:
        return FindingKind("any", severity, "").found("", "")

    unknown, warned, bad = map(one, (Severity.UNKNOWN, Severity.WARNING, Severity.BROKEN))
    assert exit_code([]) == 0
    assert exit_code([unknown]) == exit_code([warned]) == 1
    assert exit_code([unknown, bad, warned]) == 2


@pytest.mark.usefixtures("healthy")
async def test_a_check_that_fails_or_hangs_is_unknown_and_the_others_go_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    async def fails(_: Visit) -> list[Finding]:
        raise KeyError("something")

    async def hangs(_: Visit) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    bad = [Check(fails, Needs.NOTHING), Check(hangs, Needs.NOTHING)]
    monkeypatch.setattr(examination, "CHECKS", [*bad, *CHECKS])
    monkeypatch.setattr(examination, "CHECK_SECONDS", 2.0)
    await say("UPDATE worker_process SET version = id")
    found, _ = await examine(settings, CodeHere(rowless=()))
    assert [one.id for one in found] == [
        "fleet.mixed-versions", "doctor.unlooked", "doctor.unlooked",
    ]  # fmt: skip
    assert {one.proof.partition(":")[0].rpartition(".")[2] for one in found[1:]} == {
        "fails", "hangs",
    }  # fmt: skip
    assert exit_code(found) == 1


@pytest.mark.usefixtures("healthy")
async def test_without_postgres_the_rest_is_looked_at_and_no_password_is_shown(
    settings: Settings, redis: RedisClient
) -> None:
    await redis.config_set("maxmemory", "1gb")
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    url = "postgresql+asyncpg://u:pa55word@127.0.0.1:1/none"
    away = settings.model_copy(update={"database_url": SecretStr(url)})
    try:
        found, _ = await examine(away, CodeHere(rowless=()))
    finally:
        await redis.config_set("maxmemory", "0")
        await redis.config_set("maxmemory-policy", "noeviction")
    assert [one.id for one in found] == ["postgres.away", "redis.policy", "doctor.unlooked"]
    assert "queue.waiting" in found[2].proof
    assert "pa55word" not in json.dumps([str(one) for one in found])
    assert exit_code(found) == 2


@pytest.mark.usefixtures("healthy")
async def test_without_redis_the_rest_is_looked_at_and_no_password_is_shown(find: Find) -> None:
    found = await find(redis_url=SecretStr("redis://u:pa55word@127.0.0.1:1/0"))
    assert {*found} == {"redis.away", "doctor.unlooked"}
    assert "redis.memory" in found["doctor.unlooked"].proof
    assert "pa55word" not in str(found)


async def test_a_server_that_is_a_cluster_or_a_proxy_nobody_names_is_told_once(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uow.db import opening
    from uow.errors import SettingsError

    async def refuse(_: object) -> None:
        raise SettingsError("it leads to something else")

    monkeypatch.setattr(examination, "refuse_cluster", refuse)
    monkeypatch.setattr(opening, "_refuse_proxy", refuse)
    assert {*await find()} == {"postgres.settings", "redis.cluster", "doctor.unlooked"}


async def test_it_can_change_nothing(db: Database) -> None:
    looks = ReadOnly(db, 5.0)
    with pytest.raises(Exception, match="read-only transaction"):
        await fleet.make_identity(looks)
    with pytest.raises(Exception, match="read-only transaction"):
        await fleet.beat(looks, "any", app="", queues=[], running=[], leaving=False)


@pytest.mark.usefixtures("healthy")
async def test_it_changes_nothing(
    find: Find, settings: Settings, db: Database, redis: RedisClient
) -> None:
    async def rows() -> list[str]:
        tables = ("worker_process", "worker_leader", "worker_identity", "worker_app")
        every = " UNION ALL ".join(f"SELECT CAST({one} AS text) FROM {one}" for one in tables)
        async with db.engine.connect() as connection:
            return sorted((await connection.scalars(text(every))).all())

    keys, before = sorted(await redis.keys()), await rows()
    assert len(before) == 4
    await find()
    assert (sorted(await redis.keys()), await rows()) == (keys, before)


async def test_its_statements_scan_nothing_and_wait_for_no_lock(db: Database) -> None:
    names = [f"enable_{what}" for what in ("seqscan", "bitmapscan", "sort")]
    asked = ", ".join(f"current_setting('{name}')" for name in [*names, "lock_timeout"])
    settings = template("its_settings", f"SELECT {asked}")
    (said,) = await ReadOnly(db, 2.0).execute_once(settings())
    assert [*said] == ["off", "off", "off", "2s"]
    (after,) = await db.execute_once(settings())
    assert "off" not in [*after]  # they are the transaction's


@pytest.mark.usefixtures("healthy")
async def test_a_statement_of_it_ends_when_its_time_is_over(db: Database) -> None:
    sleep = template("a_long_look", "SELECT pg_sleep(:seconds)", seconds=REAL)
    with pytest.raises(Exception, match="statement timeout|answer"):
        await ReadOnly(db, 0.5).execute_once(sleep(seconds=60.0))


def test_ids_are_of_their_subject_and_means_are_sentences() -> None:
    for one in KINDS.values():
        assert one.means.endswith("."), one
        assert one.id.partition(".")[0] in {
            "schema", "roles", "postgres", "redis", "fleet", "queue", "schedules", "clocks",
            "install", "doctor",
        }  # fmt: skip
