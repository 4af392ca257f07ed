"""What wants attention first: each thing that may, and that it is not said where it is not so."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from tests.integration.test_numbers import insert, put, say
from uow import Database
from uow.broker.redis import RedisClient, connect
from uow.questions.attention import MANY_FAILURES
from uow.questions.overview import Overview, overview

DEAD_AFTER = 10.0

LIVE = "INSERT INTO worker_process (id, queue, running, version, slots, busy, lag, heartbeat_at) "


@pytest.fixture(autouse=True)
async def _a_live_worker_that_leads(db: Database) -> None:
    await say(db, LIVE + "VALUES ('w1', 'mail', '{}', '1.0', 10, 4, 0.0, now())")
    await say(db, "INSERT INTO worker_leader (duty, holder, until) "
              "VALUES ('fleet', 'w1', now() + interval '1 hour')")  # fmt: skip


@pytest.fixture
async def away() -> AsyncIterator[RedisClient]:
    client = connect("redis://127.0.0.1:1/0")
    yield client
    await client.aclose()


async def attention(db: Database, redis: RedisClient) -> dict[str, Any]:
    found = await overview(db, DEAD_AFTER, redis)
    return {one.id: one for one in found.attention}


async def test_where_all_is_well_nothing_wants_attention(db: Database, redis: RedisClient) -> None:
    await insert(db, 3, "name, queue, run_at", "'f', 'mail', now() - interval '1 second'")
    await insert(db, 2, "name, queue, run_at", "'f', 'other', now() + interval '1 hour'")
    await put(db, 600, 5, how="failed", error="ValueError")
    found = await overview(db, DEAD_AFTER, redis)
    assert found.attention == []
    assert [one.name for one in found.queues] == ["mail", "other"]
    assert (found.waiting.value, found.later.value, found.running.value) == (3, 2, 0)
    assert (found.slots, found.busy, found.workers) == (10, 4, 1)
    assert (found.failed.value, found.ended.value) == (5, 5)


async def test_due_work_that_nobody_serves_is_broken_and_comes_first(
    db: Database, redis: RedisClient
) -> None:
    await insert(db, 4, "name, queue, run_at", "'f', 'a/b', now() - interval '3 minutes'")
    await insert(db, 4, "name, queue, run_at", "'f', 'mail', now() - interval '3 minutes'")
    found = (await overview(db, DEAD_AFTER, redis)).attention
    assert [(one.id, one.weight, one.about, one.target) for one in found] == [
        ("queue.unserved", "broken", "queue", "a/b"), ("queue.old", "warning", "queue", "mail"),
    ]  # fmt: skip
    assert "4 due there, the first for 3 minutes" in found[0].text


async def test_a_paused_queue_is_said_to_be_paused_and_not_to_be_late(
    db: Database, redis: RedisClient
) -> None:
    await insert(db, 4, "name, queue, run_at", "'f', 'mail', now() - interval '3 minutes'")
    await say(db, "INSERT INTO pause (kind, target, reason, paused_by) "
              "VALUES ('queue', 'mail', 'the partner is down', 'ann'), "
              "('user', 'bob', NULL, 'x')")  # fmt: skip
    await say(db, "INSERT INTO pause (kind, target, paused_by, until) "
              "VALUES ('name', 'over', 'ann', now() - interval '1 second')")  # fmt: skip
    found = (await overview(db, DEAD_AFTER, redis)).attention
    assert [(one.id, one.about, one.target) for one in found] == [
        ("paused", "queue", "mail"), ("paused", "user", "bob"),
    ]  # fmt: skip
    assert found[0].text == "Queue mail is paused by ann: the partner is down"


async def test_suspects_and_unknown_functions(db: Database, redis: RedisClient) -> None:
    await insert(db, 1, "name, queue, deaths", "'f', 'mail', 2")
    await insert(db, 1, "name, queue, deaths", "'calm', 'mail', 1")
    await insert(db, 2, "name, queue, unknown_since", "'gone', 'mail', now()")
    found = await attention(db, redis)
    assert found.keys() == {"task.suspect", "task.unknown-function"}
    suspect = (await db.execute_once(text("SELECT id FROM task WHERE deaths = 2"), {})).scalar_one()
    assert found["task.suspect"].target == str(suspect)
    assert found["task.unknown-function"].target == "gone"


async def test_workers_that_are_dead_blocked_or_of_another_version(
    db: Database, redis: RedisClient
) -> None:
    await say(db, LIVE + "VALUES ('w2', 'mail', '{}', '2.0', 10, 0, 3.5, now()), "
              "('w3', 'mail', '{}', '1.0', 10, 0, 9.0, now() - interval '1 minute'), "
              "('left', 'mail', '{}', '1.0', 10, 0, 0, '-infinity')")  # fmt: skip
    found = await attention(db, redis)
    assert found.keys() == {"fleet.dead", "fleet.loop-lag", "fleet.mixed-versions"}
    assert "w3" in found["fleet.dead"].text
    assert "left" not in found["fleet.dead"].text
    assert found["fleet.loop-lag"].text == "Something blocks the event loop of w2 3.5 s."
    assert "1.0, 2.0" in found["fleet.mixed-versions"].text


async def test_a_fleet_without_a_worker_or_without_a_leader(
    db: Database, redis: RedisClient
) -> None:
    await say(db, "UPDATE worker_leader SET until = '-infinity'")
    assert (await attention(db, redis)).keys() == {"fleet.leaderless"}
    await say(db, "UPDATE worker_process SET leaving = true")
    assert (await attention(db, redis)).keys() == {"fleet.nobody"}


async def test_ticks_that_were_missed_or_that_nobody_fires_and_schedules_that_are_paused(
    db: Database, redis: RedisClient
) -> None:
    schedule = "INSERT INTO schedule (app, name, version, definition, next_tick, paused_at) VALUES "
    await say(db, schedule + "('a', 'well', '1', '{}', now() + interval '1 hour', NULL), "
              "('a', 'late', '1', '{}', now() - interval '1 hour', NULL), "
              "('a', 'resting', '1', '{}', now() - interval '1 hour', now())")  # fmt: skip
    tick = "INSERT INTO schedule_tick (app, name, tick, fate, until, noted_at) VALUES "
    await say(db, tick + "('a', 'well', now() - interval '2 hours', 'missed', now(), now()), "
              "('a', 'late', now() - interval '2 days', 'missed', now(), now() - interval '2 d'), "
              "('a', 'resting', now() - interval '2 hours', 'fired', NULL, now())")  # fmt: skip
    found = await attention(db, redis)
    assert found.keys() == {"schedules.overdue", "schedules.missed", "schedules.paused"}
    assert found["schedules.overdue"].text.endswith(": late.")
    assert found["schedules.missed"].text.endswith(": well.")
    assert found["schedules.paused"].text.endswith(": resting.")


async def test_failures_that_rise(db: Database, redis: RedisClient) -> None:
    for ago in (60 * 20, 60 * 40, 60 * 80, 60 * 160):
        await put(db, ago, MANY_FAILURES, how="failed", error="ValueError")
    await put(db, 60, MANY_FAILURES, how="failed", error="ValueError")
    assert not await attention(db, redis)
    await put(db, 60, 3 * MANY_FAILURES, how="failed", error="ValueError")
    assert (await attention(db, redis)).keys() == {"failures.rising"}


async def test_without_redis_the_rest_is_known(db: Database, away: RedisClient) -> None:
    await insert(db, 3, "name, queue", "'f', 'mail'")
    found = await overview(db, DEAD_AFTER, away)
    assert isinstance(found, Overview)
    assert found.redis_trouble
    assert found.waiting.value == 3
    assert [(one.id, one.weight) for one in found.attention] == [("redis.away", "broken")]
