"""Rescuer, pruner, leader: what a crash has taken comes back, what has ended goes."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from arq.jobs import serialize_result
from arq.worker import JobExecutionFailed
from sqlalchemy import text

from tests.conftest import Drain
from tests.redis_commands import command
from tests.statements import clause
from uow import Database, Settings, TaskClient, TaskContext, TaskState, task
from uow.attempt.rescue import CALM_LEASES, take_back
from uow.broker import codec, keys, scripts
from uow.broker.redis import RedisClient
from uow.db import fleet
from uow.db.database import SILENT_SECONDS
from uow.db.fragments import QUARANTINE_DEATHS, SUSPECT_DEATHS
from uow.services.leader import Leader
from uow.services.presence import Presence
from uow.services.pruner import Pruner
from uow.services.pruning import BATCH
from uow.services.relay import Relay
from uow.services.rescuer import PAGE, Rescuer
from uow.services.unserved import Unserved
from uow.tasks.registry import Registry

INSERT = text("INSERT INTO task (name) SELECT 'x' FROM generate_series(1, :n)")
ALL = text("SELECT id, state, deaths, worker, attempt FROM task")
VERSIONS = text("SELECT sum(CAST(CAST(xmin AS text) AS bigint)) FROM task")
BEAT_OF_DEAD = text(
    "INSERT INTO worker_process (id, queue, running, leaving, heartbeat_at) "
    "VALUES (:id, 'arq:queue', '{}', :leaving, now() - interval '1 hour')"
)
RUNNING = text(
    "UPDATE task SET state = 'running', worker = :worker, attempt = 1, started_at = now(), "
    "dispatch_at = 'infinity', deaths = :deaths, alone = :alone"
)


@pytest.fixture
def presence(db: Database, settings: Settings) -> Presence:
    return Presence(db, "me", settings, running=list)


@pytest.fixture
def rescuer(db: Database, redis: RedisClient, settings: Settings, presence: Presence) -> Rescuer:
    return Rescuer(db, redis, settings, presence, wake_relay=lambda: None)


async def beat_long_enough(presence: Presence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in touch for as long as it takes to judge others."""
    now = time.monotonic()
    for ago in (3.0, 2.0, 1.0, 0.0):
        monkeypatch.setattr("uow.services.presence.time.monotonic", lambda ago=ago: now - ago)
        await presence.run_once()
    monkeypatch.undo()


async def refuse_errors_of(db: Database, task_id: object) -> None:
    """Somebody's constraint lets no error of this task be written."""
    await db.execute_once(
        text(f"ALTER TABLE task_error ADD CONSTRAINT odd CHECK (task_id <> '{task_id}')"), {}
    )


async def one(db: Database) -> tuple[str, int]:
    row = (await db.execute_once(ALL, {})).one()
    return row.state, row.deaths


def tell(unserved: Unserved, *served: str) -> None:
    """Let it name what it has seen, as nothing has been run since."""
    late = unserved.late(served)
    unserved.tell(late, late)


class TestAQueueWithoutAWorker:
    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("uow.services.unserved.PATIENCE_SECONDS", 0)

    async def put(self, db: Database, queue: str, due: str = "now()") -> None:
        row = text(f"INSERT INTO task (name, queue, run_at, dispatch_at) "
                   f"VALUES ('x', :queue, {due}, 'infinity')")  # fmt: skip
        await db.execute_once(row, {"queue": queue})

    async def test_is_named_once_a_minute_with_what_waits_in_it(
        self, db: Database, rescuer: Rescuer, presence: Presence, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        await presence.run_once()
        await self.put(db, "arq:queue")
        for _ in range(2):
            await self.put(db, "slow")
        await self.put(db, "later", "now() + interval '30 s'")
        for _ in range(3):
            await rescuer.look_at_redis()
        said = [one for one in caplog.messages if "no live worker serves" in one]
        assert len(said) == 1
        assert "serves: 'slow' (2). Start" in said[0]
        monkeypatch.setattr("uow.services.unserved.REPORT_SECONDS", 0)
        await rescuer.look_at_redis()
        assert len([one for one in caplog.messages if "no live worker serves" in one]) == 2

    async def test_is_one_whose_workers_are_about_to_leave(
        self, db: Database, rescuer: Rescuer, presence: Presence, caplog: pytest.LogCaptureFixture
    ) -> None:
        presence.prepare_to_leave()
        await presence.run_once()
        await self.put(db, "arq:queue")
        await rescuer.look_at_redis()
        assert "serves: 'arq:queue' (1)" in caplog.text

    async def test_is_not_named_when_its_tasks_have_been_run_since_they_were_seen(
        self, db: Database, rescuer: Rescuer, presence: Presence, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr("uow.services.unserved.PATIENCE_SECONDS", 10)
        await presence.run_once()
        for queue in ("drained", "slow"):
            await self.put(db, queue)
        await rescuer.look_at_redis()
        run = text("UPDATE task SET state = 'succeeded', settled_at = now(), expires_at = now() "
                   "WHERE queue = 'drained'")  # fmt: skip
        await db.execute_once(run, {})
        monkeypatch.setattr("uow.services.unserved.PATIENCE_SECONDS", 0)
        await rescuer.look_at_redis()
        assert "serves: 'slow' (1). Start" in caplog.text
        assert "drained" not in rescuer._unserved._waiting()

    async def test_is_not_named_before_its_worker_may_have_been_replaced(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("uow.services.unserved.PATIENCE_SECONDS", 10)
        unserved, row = Unserved(), SimpleNamespace(queue="slow", due=True)
        unserved.note([row])  # type: ignore[list-item]
        tell(unserved)
        assert not caplog.messages
        unserved._since["slow"] -= 10
        tell(unserved, "slow")
        tell(unserved)
        assert not caplog.messages
        unserved._since["slow"] -= 10
        tell(unserved)
        assert caplog.messages

    async def test_is_forgotten_with_its_tasks(self, caplog: pytest.LogCaptureFixture) -> None:
        unserved, row = Unserved(), SimpleNamespace(queue="slow", due=True)
        unserved.note([row])  # type: ignore[list-item]
        for _ in range(2):
            unserved.begin_round()
        tell(unserved)
        assert not caplog.messages


class TestRefill:
    async def test_a_redis_that_came_back_empty_is_refilled_with_10_000_tasks_within_10_s(
        self, db: Database, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        await db.execute_once(INSERT, {"n": 10_000})
        await Relay(db, redis).run_once()
        await rescuer.run_once()
        await redis.flushall()
        began = time.monotonic()
        await rescuer.look_at_redis()
        assert time.monotonic() - began < 10
        assert await redis.zcard("arq:queue") == 10_000
        assert len(await redis.keys("arq:job:*")) == 10_000

    async def test_on_a_normal_day_nothing_is_pushed_twice_and_nothing_is_written(
        self, db: Database, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        await db.execute_once(INSERT, {"n": 5})
        await Relay(db, redis).run_once()
        before = await db.execute_once(VERSIONS, {})
        for _ in range(3):
            assert await rescuer.refill() == 0
        after = await db.execute_once(VERSIONS, {})
        assert before.scalar_one() == after.scalar_one()

    async def test_data_that_went_back_in_time_is_noticed(
        self, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        assert await rescuer.redis_has_lost_data()  # nobody knows what was before
        await rescuer.leave_pulse()
        (older,) = await redis.keys(keys.pulse("*"))
        assert not await rescuer.redis_has_lost_data()
        await rescuer.leave_pulse()
        await redis.flushall()
        await redis.set(older, "")
        assert await rescuer.redis_has_lost_data()

    async def test_a_new_leader_compares_everything_only_if_redis_has_lost_data(
        self, db: Database, redis: RedisClient, settings: Settings, presence: Presence
    ) -> None:
        def new_leader() -> Rescuer:
            return Rescuer(db, redis, settings, presence, wake_relay=lambda: None)

        await db.execute_once(INSERT, {"n": PAGE + 1})
        await Relay(db, redis).run_once()
        await new_leader().run_once()
        await redis.zremrangebyrank("arq:queue", 0, -1)
        await new_leader().run_once()  # a page, as ever
        assert await redis.zcard("arq:queue") == PAGE
        await redis.flushall()
        await new_leader().run_once()
        assert await redis.zcard("arq:queue") == PAGE + 1

    async def test_a_leader_that_ends_in_the_middle_of_a_refill_leaves_it_to_the_next(
        self,
        db: Database,
        redis: RedisClient,
        settings: Settings,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await db.execute_once(INSERT, {"n": PAGE + 1})
        await Relay(db, redis).run_once()
        first = Rescuer(db, redis, settings, presence, wake_relay=lambda: None)
        await first.run_once()
        await redis.flushall()

        async def ended() -> int:
            raise asyncio.CancelledError

        monkeypatch.setattr(first, "refill", ended)
        with pytest.raises(asyncio.CancelledError):
            await first.look_at_redis()
        await Rescuer(db, redis, settings, presence, wake_relay=lambda: None).run_once()
        assert await redis.zcard("arq:queue") == PAGE + 1

    async def test_a_page_that_fails_is_no_reason_to_compare_everything(
        self, db: Database, rescuer: Rescuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await rescuer.look_at_redis()
        later = time.monotonic() + 60
        monkeypatch.setattr("uow.services.rescuer.time.monotonic", lambda: later)
        await rescuer.look_at_redis()  # the second look after a refill
        await db.execute_once(text("ALTER TABLE task RENAME TO away"), {})
        later += 60
        with pytest.raises(Rescuer.passing):
            await rescuer.look_at_redis()
        await db.execute_once(text("ALTER TABLE away RENAME TO task"), {})
        assert not await rescuer.redis_has_lost_data()

    async def test_the_dead_are_found_while_everything_is_compared(
        self,
        db: Database,
        redis: RedisClient,
        rescuer: Rescuer,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await db.execute_once(INSERT, {"n": 1})
        await db.execute_once(RUNNING, {"worker": "dead", "deaths": 0, "alone": False})
        await db.execute_once(INSERT, {"n": PAGE + 1})
        await db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        await beat_long_enough(presence, monkeypatch)
        await rescuer.refill()
        states = await db.execute_once(text("SELECT DISTINCT state FROM task"), {})
        assert list(states.scalars()) == ["queued"]

    @pytest.mark.parametrize("lost", ["payload", "entry"])
    async def test_single_lost_keys_are_put_back_in_the_next_round(
        self, lost: str, db: Database, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        await db.execute_once(INSERT, {"n": 3})
        await Relay(db, redis).run_once()
        (first,) = await redis.zrange("arq:queue", 0, 0)
        if lost == "payload":
            await redis.delete(keys.job(first.decode()))
        else:
            await redis.zrem("arq:queue", first)
        assert await rescuer.refill() == 1
        assert await redis.zcard("arq:queue") == 3
        assert len(await redis.keys("arq:job:*")) == 3

    async def test_running_tasks_are_pushed_only_when_their_process_does_not_run_them(
        self, db: Database, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        await db.execute_once(INSERT, {"n": 3})
        ids = [row.id for row in await db.execute_once(ALL, {})]
        await db.execute_once(RUNNING, {"worker": "other", "deaths": 0, "alone": False})
        await db.execute_once(text("UPDATE task SET started_at = now() - interval '1 minute'"), {})
        await fleet.beat(db, "other", app="x", queues=["q"], running=ids[:2], leaving=False)
        assert await rescuer.refill() == 1
        assert await redis.zscore("arq:queue", str(ids[2])) is not None

    @pytest.mark.parametrize("after", [0, 2**120, 2**127])
    async def test_the_comparison_reads_a_page_through_the_index(
        self, db: Database, after: int
    ) -> None:
        await db.execute_once(INSERT, {"n": 20_000})
        await db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})
        await db.execute_once(text("ANALYZE task"), {})
        watched = clause(db, "watched")
        plan = await db.execute_once(
            text("EXPLAIN " + watched.text).bindparams(*watched._bindparams.values()),
            {"after": UUID(int=after), "limit": PAGE},
        )
        lines = "\n".join(row[0] for row in plan)
        assert "Index Scan using ix_task_dispatch" in lines
        assert "Index Cond: (ROW(dispatch_at, id) > ROW(" in lines
        assert "Seq Scan on task" not in lines
        assert "Sort" not in lines


class TestRefused:
    """A job that Redis refuses for good holds up nobody else."""

    async def test_the_comparison_goes_on_and_the_refused_task_is_failed_with_the_reason(
        self, db: Database, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        await redis.set("theirs", "a string of another application")
        await db.execute_once(INSERT, {"n": 20})
        await db.execute_once(
            text("UPDATE task SET dispatch_at = 'infinity', queue = CASE WHEN id = "
                 "(SELECT id FROM task LIMIT 1 OFFSET 7) THEN 'theirs' ELSE queue END"),
            {},
        )  # fmt: skip
        await rescuer.run_once()
        assert await redis.zcard("arq:queue") == 19
        states = text("SELECT queue, state, count(*) AS n FROM task GROUP BY 1, 2 ORDER BY 1")
        found = [tuple(row) for row in await db.execute_once(states, {})]
        assert found == [("arq:queue", "queued", 19), ("theirs", "failed", 1)]

    @pytest.mark.parametrize("lets", ["fail", "nothing"])
    async def test_a_task_that_postgres_gives_nobody_back_keeps_no_other_from_it(
        self, lets: str, db: Database, rescuer: Rescuer, presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        await db.execute_once(INSERT, {"n": 5})
        await db.execute_once(RUNNING, {"worker": "dead", "deaths": 0, "alone": False})
        bad = (await db.execute_once(ALL, {})).all()[2].id
        allowed = "'running', 'failed'" if lets == "fail" else "'running'"
        await db.execute_once(
            text(f"ALTER TABLE task ADD CHECK (id <> '{bad}' OR state IN ({allowed}))"), {}
        )
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        await beat_long_enough(presence, monkeypatch)
        assert await rescuer.take_back() == 4
        rows = {row.id: row for row in await db.execute_once(ALL, {})}
        assert rows.pop(bad).state == ("failed" if lets == "fail" else "running")
        assert {(row.state, row.deaths) for row in rows.values()} == {("queued", 1)}
        assert await rescuer.take_back() == 0

    async def test_the_dead_processes_other_tasks_are_released(
        self,
        db: Database,
        redis: RedisClient,
        rescuer: Rescuer,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await redis.set("theirs", "a string of another application")
        await db.execute_once(INSERT, {"n": 3})
        await db.execute_once(RUNNING, {"worker": "dead", "deaths": 0, "alone": False})
        found = (await db.execute_once(ALL, {})).all()
        await db.execute_once(
            text("UPDATE task SET queue = 'theirs' WHERE id = :id"), {"id": found[1].id}
        )
        await redis.mset({keys.in_progress(str(row.id)): "1" for row in found})
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        await beat_long_enough(presence, monkeypatch)
        assert await rescuer.take_back() == 3
        left = await redis.keys(keys.in_progress("*"))
        assert set(left) <= {keys.in_progress(str(found[1].id)).encode()}

    async def test_one_queue_of_a_wrong_kind_does_not_keep_the_others_from_being_tended(
        self, db: Database, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        await redis.set("a-string", "theirs")
        for queue in ("a-string", "arq:queue"):
            await fleet.beat(db, queue, app="x", queues=[queue], running=[], leaving=False)
        await redis.zadd("arq:queue", {"foreign": 1})
        await redis.set(keys.job("foreign"), "x", ex=60)
        await rescuer.look_at_redis()
        assert await redis.ttl(keys.job("foreign")) == -1


class TestTheDead:
    @pytest.mark.parametrize(
        ("leaving", "deaths", "alone", "state", "after"),
        [
            (False, 0, False, "queued", 1),
            (True, 0, False, "queued", 0),
            (False, SUSPECT_DEATHS, False, "queued", SUSPECT_DEATHS),
            (False, SUSPECT_DEATHS, True, "queued", SUSPECT_DEATHS + 1),
            (False, QUARANTINE_DEATHS - 1, True, "failed", QUARANTINE_DEATHS),
            (False, QUARANTINE_DEATHS - 1, False, "queued", QUARANTINE_DEATHS - 1),
            (True, QUARANTINE_DEATHS - 1, True, "queued", QUARANTINE_DEATHS - 1),
        ],
    )
    async def test_a_death_counts_against_a_suspect_only_when_it_ran_alone(
        self,
        leaving: bool,
        deaths: int,
        alone: bool,
        state: str,
        after: int,
        db: Database,
        rescuer: Rescuer,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await db.execute_once(INSERT, {"n": 1})
        await db.execute_once(RUNNING, {"worker": "dead", "deaths": deaths, "alone": alone})
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": leaving})
        await beat_long_enough(presence, monkeypatch)
        assert await rescuer.take_back() == 1
        assert await one(db) == (state, after)
        assert await rescuer.take_back() == 0

    async def test_while_processes_die_that_it_cannot_have_killed_a_suspect_is_not_blamed(
        self,
        db: Database,
        rescuer: Rescuer,
        presence: Presence,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await db.execute_once(INSERT, {"n": 1})
        suspect = {"deaths": QUARANTINE_DEATHS - 1, "alone": True}
        await db.execute_once(BEAT_OF_DEAD, {"id": "idle", "leaving": False})
        await db.execute_once(RUNNING, {"worker": "dead", **suspect})
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        await beat_long_enough(presence, monkeypatch)
        await rescuer.take_back()
        assert await one(db) == ("queued", QUARANTINE_DEATHS - 1)

        over = timedelta(seconds=CALM_LEASES * settings.lease_seconds + 1)
        await db.execute_once(
            text("UPDATE worker_leader SET storm_at = now() - CAST(:over AS interval)"),
            {"over": over},
        )
        await db.execute_once(RUNNING, {"worker": "dead", **suspect})
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        await rescuer.take_back()
        assert await one(db) == ("failed", QUARANTINE_DEATHS)

    async def test_the_log_names_the_processes_and_a_few_of_their_tasks(
        self,
        db: Database,
        rescuer: Rescuer,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await beat_long_enough(presence, monkeypatch)
        for tasks, said in (
            (1, r"a process has ended \(dead\): a task is taken back: [0-9a-f-]{36}$"),
            (7, r"ended \(dead\): 7 tasks are taken back: ([0-9a-f-]{36}, ){5}…$"),
        ):
            caplog.clear()
            await db.execute_once(text("DELETE FROM task"), {})
            await db.execute_once(INSERT, {"n": tasks})
            await db.execute_once(RUNNING, {"worker": "dead", "deaths": 0, "alone": False})
            await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
            assert await rescuer.take_back() == tasks
            (told,) = caplog.records
            assert told.levelname == "WARNING"
            assert re.search(said, told.message), told.message

    @pytest.mark.parametrize(("leaving", "level"), [(True, "INFO"), (False, "WARNING")])
    async def test_only_a_process_that_was_not_told_to_stop_is_a_warning_if_it_left_no_task(
        self,
        leaving: bool,
        level: str,
        db: Database,
        rescuer: Rescuer,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO)
        await beat_long_enough(presence, monkeypatch)
        await db.execute_once(BEAT_OF_DEAD, {"id": "gone", "leaving": leaving})
        assert await rescuer.take_back() == 0
        (told,) = [record for record in caplog.records if record.name == "uow.attempt.rescue"]
        assert told.levelname == level
        assert told.message == "a process has ended (gone), and left no task behind"

    async def test_their_leases_are_ended_and_their_tasks_pushed(
        self,
        db: Database,
        redis: RedisClient,
        rescuer: Rescuer,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await db.execute_once(INSERT, {"n": 1})
        await db.execute_once(RUNNING, {"worker": "dead", "deaths": 0, "alone": False})
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        row = (await db.execute_once(ALL, {})).one()
        await redis.set(keys.in_progress(str(row.id)), "1", ex=600)
        await beat_long_enough(presence, monkeypatch)
        await rescuer.run_once()
        assert not await redis.exists(keys.in_progress(str(row.id)))
        assert await Relay(db, redis).run_once() == 1

    async def test_who_was_away_itself_judges_nobody(
        self,
        db: Database,
        rescuer: Rescuer,
        presence: Presence,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await db.execute_once(INSERT, {"n": 1})
        await db.execute_once(RUNNING, {"worker": "dead", "deaths": 0, "alone": False})
        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        await presence.run_once()
        assert await rescuer.take_back() == 0
        await beat_long_enough(presence, monkeypatch)
        presence.suspend()
        await presence.run_once()
        assert await rescuer.take_back() == 0
        assert await one(db) == ("running", 0)

    async def test_a_process_that_leaves_by_itself_is_no_death(
        self, db: Database, settings: Settings
    ) -> None:
        leaving = Presence(db, "leaving", settings, running=list)
        await leaving.run_once()
        await leaving.stop()
        row = (await db.execute_once(text("SELECT * FROM worker_process"), {})).one()
        assert row.leaving


class TestHeartbeat:
    async def test_a_heartbeat_that_is_refused_is_no_outage_and_says_why(
        self, db: Database, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        claims = SimpleNamespace(claiming=False)
        presence = Presence(db, "me", settings, running=list, claims=claims)
        await presence.run_once()
        assert claims.claiming
        await db.execute_once(text("ALTER TABLE worker_process RENAME TO theirs"), {})
        with pytest.raises(Presence.passing):
            await presence.run_once()
        assert not claims.claiming
        await db.execute_once(text("ALTER TABLE theirs RENAME TO worker_process"), {})
        await presence.run_once()
        assert claims.claiming
        refused, again = caplog.messages
        assert refused.startswith("no heartbeat (UndefinedTableError: ")
        assert refused.endswith("): claims nothing")
        assert again == "a heartbeat again: claims again"

    async def test_a_postgres_that_is_away_is_called_so(
        self, db: Database, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        claims = SimpleNamespace(claiming=False)
        presence = Presence(db, "me", settings, running=list, claims=claims)
        await presence.run_once()
        async with Database("postgresql://nobody@127.0.0.1:1/nowhere") as nowhere:
            presence._db = nowhere
            with pytest.raises(Presence.passing):
                await presence.run_once()
        presence._db = db
        await presence.run_once()
        assert caplog.messages == [
            "Postgres is away: claims nothing", "Postgres is back: claims again",
        ]  # fmt: skip


class TestTakingOver:
    async def test_what_is_done_before_a_start_takes_no_longer_than_a_start_may(
        self, db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits: list[float] = []
        execute_once = db.execute_once

        async def noted(*given: Any, limit: float = SILENT_SECONDS) -> Any:
            limits.append(limit)
            return await execute_once(*given, limit=limit)

        await db.execute_once(BEAT_OF_DEAD, {"id": "dead", "leaving": False})
        monkeypatch.setattr(db, "execute_once", noted)
        await take_back(db, settings, only="dead")
        assert limits == [settings.start_limit]


class TestLocks:
    async def test_stock_arqs_long_lock_of_a_job_of_ours_is_cut_to_a_lease(
        self, client: TaskClient, redis: RedisClient, registry: Registry, settings: Settings
    ) -> None:
        @task("locked", registry=registry)
        async def locked(ctx: TaskContext) -> None: ...

        handle = await client.enqueue(locked)
        await client.flush()
        lock = keys.in_progress(str(handle.id))
        await redis.set(lock, "1", ex=3600)
        await scripts.tend(redis, "arq:queue", 0, settings.lease_seconds)
        assert 0 < await redis.pttl(lock) <= settings.lease_seconds * 1000

    async def test_the_lock_of_another_workers_job_is_left_alone(
        self, redis: RedisClient, settings: Settings
    ) -> None:
        await redis.zadd("arq:queue", {"theirs": 1})
        await redis.set(keys.job("theirs"), b"\x80\x05 pickle", ex=86_400)
        await redis.set(keys.in_progress("theirs"), "1", ex=3600)
        await scripts.tend(redis, "arq:queue", 0, settings.lease_seconds)
        assert await redis.ttl(keys.in_progress("theirs")) > 3000

    async def test_a_stock_clients_job_does_not_expire_by_waiting(
        self, client: TaskClient, redis: RedisClient, rescuer: Rescuer, presence: Presence
    ) -> None:
        await presence.run_once()
        await client.redis.enqueue_job("x", 1, _job_id="foreign", _expires=60)
        assert await redis.ttl(keys.job("foreign")) > 0
        await rescuer.run_once()
        assert await redis.ttl(keys.job("foreign")) == -1

    async def test_a_key_of_a_wrong_type_does_not_stop_the_round(
        self, redis: RedisClient, settings: Settings
    ) -> None:
        await redis.zadd("arq:queue", {b"odd": 1, b"\xff": 2})
        await command(redis, "LPUSH", keys.job("odd"), "not a string")
        assert await scripts.tend(redis, "arq:queue", 0, settings.lease_seconds) == 2


class TestWhatArqHasSettledByItself:
    """By another arq worker on the same queue: ours leaves it no occasion."""

    @pytest.mark.parametrize(
        ("failure", "state"),
        [
            (JobExecutionFailed("job expired"), TaskState.QUEUED),
            (JobExecutionFailed("function 'x' not found"), TaskState.FAILED),
            (JobExecutionFailed("max 5 retries exceeded"), TaskState.FAILED),
            (asyncio.CancelledError(), TaskState.CANCELLED),
        ],
    )
    async def test_the_row_gets_the_right_state(
        self,
        failure: BaseException,
        state: TaskState,
        db: Database,
        redis: RedisClient,
        rescuer: Rescuer,
    ) -> None:
        task_id = await self._settled_by_arq(db, redis, failure, codec.to_bytes)
        pushed_again = await rescuer.refill()
        assert (await one(db))[0] == state
        assert pushed_again == (1 if state is TaskState.QUEUED else 0)
        if state.settled:
            assert not await redis.exists(keys.result(task_id))

    async def test_one_that_cannot_be_settled_keeps_no_other_from_it(
        self,
        db: Database,
        redis: RedisClient,
        rescuer: Rescuer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        failure = JobExecutionFailed("max 5 retries exceeded")
        odd = await self._settled_by_arq(db, redis, failure, codec.to_bytes)
        await refuse_errors_of(db, odd)
        ids = await db.execute_once(text("INSERT INTO task (name) VALUES ('x') RETURNING id"), {})
        other = str(ids.scalar_one())
        await Relay(db, redis).run_once()
        await redis.delete(keys.job(other))
        await redis.rename(keys.result(odd), "kept")
        await redis.copy("kept", keys.result(odd))
        await redis.rename("kept", keys.result(other))
        await rescuer.refill()
        states = {str(row.id): row.state for row in await db.execute_once(ALL, {})}
        assert states == {odd: "queued", other: "failed"}
        assert f"task {odd} cannot be failed" in caplog.text

    async def test_a_pickled_failure_is_not_read_and_settles_nothing(
        self, db: Database, redis: RedisClient, rescuer: Rescuer
    ) -> None:
        await self._settled_by_arq(db, redis, JobExecutionFailed("function 'x' not found"), None)
        assert await rescuer.refill() == 1
        assert (await one(db))[0] == TaskState.QUEUED

    async def _settled_by_arq(
        self,
        db: Database,
        redis: RedisClient,
        failure: BaseException,
        serializer: Callable[[dict[str, object]], bytes] | None,
    ) -> str:
        await db.execute_once(INSERT, {"n": 1})
        await Relay(db, redis).run_once()
        row = (await db.execute_once(ALL, {})).one()
        result = serialize_result("x", (), {}, 1, 0, False, failure, 0, 0, "x", "arq:queue",
                                  str(row.id), serializer=serializer)  # fmt: skip
        assert result is not None
        await redis.set(keys.result(str(row.id)), result)
        await redis.delete(keys.job(str(row.id)))
        await redis.zrem("arq:queue", str(row.id))
        return str(row.id)

    async def test_an_expired_payload_is_run_all_the_same(
        self, client: TaskClient, registry: Registry, redis: RedisClient, drain: Drain
    ) -> None:
        @task("expired", registry=registry)
        async def expired(ctx: TaskContext) -> int:
            return 7

        handle = await client.enqueue(expired)
        await client.flush()
        await redis.delete(keys.job(str(handle.id)))
        await drain()  # arq fails the job as expired
        await client.db.execute_once(text("UPDATE task SET dispatch_at = now()"), {})
        await drain()
        assert await handle.result(10) == 7


class TestRetention:
    async def test_settled_tasks_go_when_their_retention_has_ended_and_their_errors_with_them(
        self, db: Database, client: TaskClient, redis: RedisClient, registry: Registry, drain: Drain
    ) -> None:
        @task("short", max_tries=1, retention=0, registry=registry)
        async def short(ctx: TaskContext) -> None:
            raise ValueError("once")

        @task("long", max_tries=1, retention=3600, registry=registry)
        async def long(ctx: TaskContext) -> None:
            raise ValueError("once")

        @task("default", registry=registry)
        async def default(ctx: TaskContext) -> None: ...

        for function in (short, long, default):
            await client.enqueue(function)
        await drain()
        await Pruner(db, redis).run_once()  # unless the worker, which leads, has come first
        left = await db.execute_once(text("SELECT name FROM task ORDER BY name"), {})
        assert list(left.scalars()) == ["default", "long"]
        errors = await db.execute_once(text("SELECT count(*) FROM task_error"), {})
        assert errors.scalar_one() == 1
        kept = await db.execute_once(
            text("SELECT expires_at - settled_at FROM task WHERE name = 'default'"), {}
        )
        assert kept.scalar_one().days == 7

    async def test_unsettled_tasks_and_those_whose_job_is_in_redis_stay(
        self, db: Database, client: TaskClient, redis: RedisClient, registry: Registry
    ) -> None:
        @task("waits", registry=registry)
        async def waits(ctx: TaskContext) -> None: ...

        kept = await client.enqueue(waits)
        await client.flush()
        await kept.cancel()
        await client.enqueue(waits)
        await db.execute_once(text("UPDATE task SET expires_at = '-infinity'"), {})
        pruner = Pruner(db, redis)
        assert await pruner.run_once() == 0
        await redis.flushall()
        assert await pruner.run_once() == 1
        assert await client.get(kept.id) is None

    async def test_a_cancelled_task_is_kept_for_the_default_time(
        self, client: TaskClient, db: Database, registry: Registry
    ) -> None:
        @task("cancelled", registry=registry)
        async def cancelled(ctx: TaskContext) -> None: ...

        await (await client.enqueue(cancelled)).cancel()
        found = await db.execute_once(text("SELECT expires_at - settled_at FROM task"), {})
        assert found.scalar_one().days == 7

    async def test_those_that_stay_keep_nobody_else_from_going(
        self, db: Database, redis: RedisClient
    ) -> None:
        made = (
            "INSERT INTO task (name, state, settled_at, expires_at) SELECT '{name}', 'succeeded', "
            "now(), now() - interval '{ago} s' FROM generate_series(1, {n}) RETURNING id"
        )
        stay = text(made.format(name="stays", ago=2, n=2 * BATCH))
        ids = (await db.execute_once(stay, {})).scalars()
        await redis.mset({keys.job(str(id_)): "x" for id_ in ids})
        await db.execute_once(text(made.format(name="goes", ago=1, n=5)), {})
        assert await Pruner(db, redis).run_once() == 5
        left = await db.execute_once(text("SELECT name, count(*) FROM task GROUP BY 1"), {})
        assert [tuple(row) for row in left] == [("stays", 2 * BATCH)]

    async def test_many_go_in_batches(self, db: Database, redis: RedisClient) -> None:
        await db.execute_once(
            text(
                "INSERT INTO task (name, state, settled_at, expires_at) "
                "SELECT 'x', 'succeeded', now(), now() FROM generate_series(1, 2500)"
            ),
            {},
        )
        assert await Pruner(db, redis).run_once() == 2500


class TestLeader:
    async def test_one_leads_and_another_follows_when_it_stops(self, db: Database) -> None:
        first, second = Leader(db, "first", []), Leader(db, "second", [])
        assert await first.run_once()
        assert not await second.run_once()
        assert await first.run_once()
        await first.stop()
        assert await second.run_once()
        assert not await first.run_once()

    async def test_duties_run_only_while_it_leads(self, db: Database, redis: RedisClient) -> None:
        duty = Pruner(db, redis)
        leader, rival = Leader(db, "leader", [duty]), Leader(db, "rival", [])
        await leader.run_once()
        assert duty._task is not None
        await db.execute_once(text("UPDATE worker_leader SET until = now() - interval '1 s'"), {})
        assert await rival.run_once()
        assert not await leader.run_once()
        assert duty._task is None
