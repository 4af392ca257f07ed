"""Processes, queues, schedules and clocks."""

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from tests.integration.doctor.conftest import Find, Say
from uow import Database
from uow.broker import codec, keys
from uow.broker.redis import RedisClient
from uow.clock import utcnow
from uow.db import migrations
from uow.questions.doctor import clocks, queue
from uow.questions.doctor.visit import CodeHere
from uow.tasks.queue_owner import Owner, identify

pytestmark = pytest.mark.usefixtures("healthy")


class TestTheFleet:
    async def test_without_a_leader_is_told(self, find: Find, say: Say) -> None:
        await say("UPDATE worker_leader SET until = '-infinity'")
        assert {*await find()} == {"fleet.leaderless"}
        await say("DELETE FROM worker_leader")
        assert "nobody ever has" in (await find())["fleet.leaderless"].proof

    async def test_without_a_process_is_told(self, find: Find, say: Say) -> None:
        await say("UPDATE worker_process SET heartbeat_at = '-infinity'")
        assert {*await find()} == {"fleet.nobody"}

    async def test_of_two_versions_is_told_which_runs_which(self, find: Find, say: Say) -> None:
        await say("UPDATE worker_process SET version = '2' WHERE id = 'host:2:b'")
        assert {*(found := await find())} == {"fleet.mixed-versions"}
        assert found["fleet.mixed-versions"].proof == "1: 1 (host:1:a); 2: 1 (host:2:b)"

    async def test_with_two_leases_is_broken(self, find: Find, say: Say) -> None:
        await say("UPDATE worker_process SET lease_seconds = 4 WHERE id = 'host:2:b'")
        assert {*await find()} == {"fleet.leases-differ"}

    async def test_with_a_loop_that_is_held_up_is_told(self, find: Find, say: Say) -> None:
        await say("UPDATE worker_process SET lag = 2.5 WHERE id = 'host:2:b'")
        assert (await find())["fleet.loop-lag"].proof == "host:2:b 2.5 s"

    async def test_that_does_not_say_what_it_is_is_unknown(self, find: Find, say: Say) -> None:
        for column in ("version", "lease_seconds", "lag"):
            await say(f"UPDATE worker_process SET {column} = NULL WHERE id = 'host:2:b'")
            found = await find()
            assert {*found} == {"fleet.untold"}
            assert found["fleet.untold"].proof.startswith("1 of 2 processes")
            await say("DELETE FROM worker_process WHERE id = 'host:2:b'")
            assert await find() == {}
            await say("INSERT INTO worker_process (id, queue, running, version, lease_seconds, "
                      "lag) VALUES ('host:2:b', 'arq:queue', '{}', '1', 600, 0)")  # fmt: skip


OLD = "run_at, created_at, dispatch_at"
LONG_AGO = "now() - interval '1 hour', now() - interval '1 hour', 'infinity'"


class TestWork:
    async def test_that_nobody_serves_is_told_with_the_line_that_serves_it(
        self, find: Find, say: Say
    ) -> None:
        await say(f"INSERT INTO task (name, queue, {OLD}) VALUES ('a', 'mail', {LONG_AGO})")
        found = await find()
        assert {*found} == {"queue.unserved"}
        assert found["queue.unserved"].mend == "worker run --queue mail"
        await say("UPDATE worker_process SET queue = 'arq:queue,mail' WHERE id = 'host:2:b'")
        assert await find() == {}

    async def test_that_is_not_due_or_has_just_become_so_may_wait_for_a_worker(
        self, find: Find, say: Say
    ) -> None:
        await say("INSERT INTO task (name, queue) VALUES ('a', 'mail')")
        await say("INSERT INTO task (name, queue, run_at, dispatch_at) VALUES "
                  "('a', 'mail', now() + interval '1 day', now() + interval '1 day')")  # fmt: skip
        assert await find() == {}

    async def test_whose_function_nobody_has_is_told(self, find: Find, say: Say) -> None:
        await say(
            f"INSERT INTO task (name, unknown_since, {OLD}) VALUES ('gone', now(), {LONG_AGO})"
        )
        assert await find() == {}
        await say("UPDATE task SET unknown_since = now() - interval '10 minutes'")
        found = await find()
        assert {*found} == {"queue.unknown-function"}
        assert "'gone'" in found["queue.unknown-function"].proof

    async def test_that_is_suspect_and_waits_for_long_is_told(self, find: Find, say: Say) -> None:
        await say(f"INSERT INTO task (name, deaths, {OLD}) VALUES ('bad', 2, {LONG_AGO})")
        assert {*await find()} == {"queue.stuck-suspect"}
        await say("UPDATE task SET state = 'running'")
        assert await find() == {}

    async def test_of_which_there_is_more_than_is_looked_at_is_partly_unknown(
        self, find: Find, say: Say, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue, "LOOKED_AT", 3)
        waits = "INSERT INTO task (name, dispatch_at) SELECT 'a', {} FROM generate_series(1, 2)"
        await say(waits.format("'infinity'"))
        await say(waits.format("now() + interval '1 day'"))
        assert await find() == {}
        await say(waits.format("'infinity'"))
        assert {*await find()} == {"queue.partly"}


@pytest.fixture
async def other(empty_database_url: str) -> AsyncIterator[Owner]:
    async with Database(empty_database_url) as db:
        await migrations.upgrade(db)
        yield await identify(db, "shop")


class TestAQueue:
    async def test_that_is_another_databases_is_told_with_whose(
        self, find: Find, redis: RedisClient, other: Owner
    ) -> None:
        await redis.set(keys.owner("arq:queue"), other.to_json())
        found = await find()
        assert {*found} == {"queue.anothers"}
        assert "shop" in found["queue.anothers"].proof

    async def test_with_jobs_whose_rows_are_elsewhere_is_told(
        self, find: Find, say: Say, redis: RedisClient
    ) -> None:
        here, gone = UUID(int=1), UUID(int=2)
        await say("INSERT INTO task (id, name, dispatch_at) VALUES (:id, 'a', 'infinity')", id=here)
        rowless = codec.rowless_payload("b", b"{}", 0)
        for id_, payload in (
            (str(here), codec.durable_payload("a", str(here), 0)),
            ("of-nobody", rowless),
            ("broken", b"\x80"),
        ):
            await redis.set(keys.job(id_), payload)
            await redis.zadd("arq:queue", {id_: 1})
        await redis.zadd("arq:queue", {"without-a-job": 1})
        assert await find() == {}
        await redis.set(keys.job(str(gone)), codec.durable_payload("a", str(gone), 0))
        await redis.zadd("arq:queue", {str(gone): 1})
        found = await find()
        assert {*found} == {"queue.strange-jobs"}
        assert str(gone) in found["queue.strange-jobs"].proof

    async def test_with_a_job_that_was_done_meanwhile_is_well(
        self, find: Find, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        id_ = str(UUID(int=3))
        await redis.set(keys.job(id_), codec.durable_payload("a", id_, 0))
        await redis.zadd("arq:queue", {id_: 1})

        async def gone(*_: object) -> set[str]:
            await redis.zrem("arq:queue", id_)
            return set()

        monkeypatch.setattr(queue, "rows_there", gone)
        assert await find() == {}


SCHEDULE = (
    "INSERT INTO schedule (app, name, version, definition, next_tick, seen_at) "
    "VALUES ('worker', 'nightly', '1', '{}', now() + make_interval(secs => :due), "
    "now() - make_interval(secs => :unseen))"
)


@pytest.mark.parametrize(
    ("due", "unseen", "told"),
    [
        (3600, 0, set()),
        (-5, 0, set()),
        (-600, 0, {"schedules.overdue"}),
        (3600, 7200, {"schedules.unseen"}),
    ],
)
async def test_a_schedule_that_nobody_has_or_fires_is_told(
    find: Find, say: Say, due: float, unseen: float, told: set[str]
) -> None:
    await say(SCHEDULE, due=float(due), unseen=float(unseen))
    assert {*await find()} == told
    await say("UPDATE schedule SET paused_at = now()")
    assert await find() == {}


@pytest.mark.parametrize(("ahead", "told"), [(5, "clocks.skew"), (-3600, "clocks.far")])
async def test_a_host_whose_clock_is_wrong_is_told(
    find: Find, monkeypatch: pytest.MonkeyPatch, ahead: int, told: str
) -> None:
    monkeypatch.setattr(clocks, "utcnow", lambda: utcnow() + timedelta(seconds=ahead))
    found = await find()
    assert {*found} == {told}
    assert ("behind" in found[told].proof) is (ahead > 0)


async def test_what_is_missing_of_an_installation_is_told(
    find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uow.questions.doctor import install

    monkeypatch.setattr(install, "find_spec", lambda _: None)
    found = await find(CodeHere(missing="cannot import app.tasks"))
    assert {*found} == {"install.no-hiredis", "install.no-uvloop", "install.no-code"}
    assert found["install.no-code"].proof == "cannot import app.tasks"
