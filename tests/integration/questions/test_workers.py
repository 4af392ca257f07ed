"""The workers there are: what a process says of itself, and what is known of those that do not."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

import uow
from tests.integration.test_plans import generic_plan
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.db import fleet
from uow.db.code import Code, forget_code
from uow.db.profile import Profile, Signs
from uow.db.statement import InSession
from uow.questions.glance import glance
from uow.questions.workers import ShownWorker, workers
from uow.questions.workers import fleet as whole_fleet
from uow.schedules.retirement import Retirement
from uow.services.presence import Presence
from uow.tasks.registry import Registry
from uow.telemetry.release import release

CODE = text("SELECT fingerprint, names FROM worker_code")
AS_AN_OLDER_WORKER = text(
    "INSERT INTO worker_process (id, app, queue, running, leaving) "
    "VALUES ('older', 'worker', 'arq:queue', '{}', false) "
    "ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()"
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"task_modules": ()})


async def seen(db: Database, fits: Callable[[ShownWorker], object]) -> ShownWorker:
    """The only worker, as soon as it is so."""
    end = time.monotonic() + 10
    while True:
        found = await workers(db, 2.0)
        if found and fits(found[0]):
            (one,) = found
            return one
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)


async def test_a_worker_says_what_it_is_and_what_it_runs_since_when(
    db: Database, settings: Settings, client: TaskClient, registry: Registry
) -> None:
    opened = asyncio.Event()

    @task("hold", registry=registry)
    async def hold(ctx: TaskContext) -> None:
        await opened.wait()

    async with uow.running(settings, registry=registry):
        handle = await client.enqueue("hold")
        one = await seen(db, lambda one: one.running and one.busy == 1 and one.leads)
        assert (one.host, one.pid) == (socket.gethostname(), os.getpid())
        assert (one.version, one.app, one.queues) == (release(), "worker", ["arq:queue"])
        assert (one.slots, one.lives, one.leaving) == (settings.concurrency, True, False)
        assert one.lag is not None
        assert one.lag < 10
        assert None not in (one.pool_busy, one.pool_idle, one.pool_room)
        assert len(one.running) == 1
        runs = one.running[0]
        assert (runs.id, runs.name, runs.attempt) == (handle.id, "hold", 1)
        assert abs((datetime.now(UTC) - runs.since).total_seconds()) < 10
        opened.set()
        await seen(db, lambda one: not one.running and one.busy == 0)
    assert await workers(db, 2.0) == []


async def test_of_a_worker_of_an_older_version_the_rest_is_unknown(db: Database) -> None:
    for _ in range(2):  # it beats as it always has
        await db.execute_once(AS_AN_OLDER_WORKER, {})
    (one,) = await workers(db, 60.0)
    assert (one.id, one.lives, one.queues) == ("older", True, ["arq:queue"])
    unknown = (one.host, one.pid, one.version, one.slots, one.busy, one.lag, one.pool_busy)
    assert {*unknown} == {None}


async def test_a_dead_worker_is_shown_as_dead_until_it_is_forgotten(db: Database) -> None:
    await db.execute_once(AS_AN_OLDER_WORKER, {})
    await db.execute_once(
        text("UPDATE worker_process SET heartbeat_at = now() - interval '1 hour'"), {}
    )
    (one,) = await workers(db, 60.0)
    assert not one.lives
    assert one.heartbeat_age >= 3600


@pytest.mark.parametrize(("most_workers", "most_running"), [(2, 100), (100, 2)])
async def test_that_there_is_more_than_is_shown_is_said(
    db: Database, monkeypatch: pytest.MonkeyPatch, most_workers: int, most_running: int
) -> None:
    join = """
        INSERT INTO worker_process (id, queue, running)
        VALUES (:id, 'arq:queue', ARRAY[gen_random_uuid()])
    """
    monkeypatch.setattr("uow.questions.workers.MOST_WORKERS", most_workers)
    monkeypatch.setattr("uow.questions.workers.MOST_RUNNING", most_running)
    for number in range(3):
        assert not (await whole_fleet(db, 60.0)).capped
        await db.execute_once(text(join), {"id": f"w{number}"})
    found = await whole_fleet(db, 60.0)
    assert (found.capped, len(found.workers)) == (True, min(3, most_workers))
    assert (await glance(db, 60.0)).workers_capped


class TestTheNamesOfItsTaskFunctions:
    def presence(self, db: Database, settings: Settings, *names: str) -> Presence:
        return Presence(db, "me", settings, running=list, code=Code.of(names))

    async def test_are_written_once_for_all_processes_with_the_same(
        self, db: Database, settings: Settings
    ) -> None:
        await self.presence(db, settings, "b", "a").run_once()
        other = Presence(db, "other", settings, running=list, code=Code.of(["a", "b"]))
        await other.run_once()
        code = (await db.execute_once(CODE, {})).one()
        assert code.names == ["a", "b"]
        said = text("SELECT DISTINCT code FROM worker_process")
        assert (await db.execute_once(said, {})).scalar_one() == code.fingerprint

    async def test_are_forgotten_when_no_process_has_had_them_for_a_while(
        self, db: Database, settings: Settings
    ) -> None:
        await self.presence(db, settings, "a").run_once()
        assert await forget_code(db) == 0
        await db.execute_once(text("UPDATE worker_code SET seen_at = now() - interval '1 day'"), {})
        assert await forget_code(db) == 0  # a process lives with them
        await db.execute_once(text("DELETE FROM worker_process"), {})
        await Retirement(db, 60.0).run_once()  # the leader's duty
        assert (await db.execute_once(CODE, {})).all() == []

    async def test_are_not_forgotten_under_a_process_that_is_about_to_come(
        self, db: Database, settings: Settings
    ) -> None:
        await self.presence(db, settings, "a").run_once()
        await db.execute_once(text("DELETE FROM worker_process"), {})
        assert await forget_code(db) == 0

    async def test_are_said_again_by_a_process_that_was_taken_for_dead(
        self, db: Database, settings: Settings
    ) -> None:
        presence = self.presence(db, settings, "a")
        await presence.run_once()
        await db.execute_once(text("DELETE FROM worker_process"), {})
        await db.execute_once(text("DELETE FROM worker_code"), {})
        await presence.run_once()
        assert len((await db.execute_once(CODE, {})).all()) == 1

    async def test_cannot_be_said_and_the_process_lives_on(
        self, db: Database, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        await db.execute_once(text("ALTER TABLE worker_code RENAME TO elsewhere"), {})
        presence = self.presence(db, settings, "a")
        for _ in range(3):
            await presence.run_once()
        assert presence.trouble is None
        said = [one for one in caplog.messages if "cannot say which task functions" in one]
        assert len(said) == 1


async def test_signs_that_cannot_be_read_stop_no_heartbeat(
    db: Database, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    presence = Presence(db, "me", settings, running=list)

    def broken() -> Signs:
        raise ZeroDivisionError

    presence.signs = broken
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await presence.run_once()
    assert presence.trouble is None
    assert len(caplog.records) == 1


async def test_a_heartbeat_is_a_heap_only_update(db: Database) -> None:
    whole = Profile(host="h" * 60, pid=1, version="1.0.0", slots=10, code="c" * 16)
    hot = text("SELECT pg_stat_get_xact_tuples_hot_updated('worker.worker_process'::regclass)")
    async with db.get_session() as session:
        mine = InSession(session, db.schema)
        for number in range(11):
            await fleet.beat(
                mine, f"{'h' * 60}:1:abcdef", app="worker", queues=["arq:queue"], running=[],
                leaving=False, profile=whole, signs=Signs(busy=number, lag=0.0, pool_busy=number),
            )  # fmt: skip
        assert (await session.execute(hot)).scalar_one() == 10


async def test_a_glance_shows_what_waits_in_each_queue_also_in_those_that_only_are_served(
    db: Database, settings: Settings
) -> None:
    await Presence(db, "me", settings, running=list).run_once()
    await db.execute_once(
        text("INSERT INTO task (name, queue, state, run_at) VALUES "
             "('x', 'mail', 'queued', now() - interval '1 hour'), ('x', 'mail', 'queued', now()), "
             "('x', 'mail', 'scheduled', now() + interval '1 day')"), {},
    )  # fmt: skip
    found = await glance(db, 60.0)
    served, mail = found.queues
    assert (served.queue, served.waiting, served.oldest_seconds) == ("arq:queue", 0, None)
    assert (mail.queue, mail.waiting, mail.later, mail.running) == ("mail", 2, 1, 0)
    assert mail.oldest_seconds is not None
    assert mail.oldest_seconds >= 3600
    assert not found.capped
    assert [one.id for one in found.workers] == ["me"]


@pytest.mark.parametrize("name", ["waiting_task", "running_tasks"])
async def test_a_task_is_found_by_its_key(db: Database, name: str) -> None:
    plan: Any = await generic_plan(db, name)
    assert "pk_task" in plan
    assert "Seq Scan on task" not in plan
    assert "ix_task_dispatch" not in plan
