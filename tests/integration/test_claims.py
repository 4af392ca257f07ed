"""A claim finds all that is due, whatever its score, the clock and whoever stands before it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import Drain
from uow import Database, TaskClient, TaskContext, task
from uow.broker import connection, scripts
from uow.broker.claims import Round, claim
from uow.broker.patient import PatientRedis
from uow.broker.redis import RedisClient, connect
from uow.broker.scripts import PRIORITY_STEP_MS, Call, Job, caller, score
from uow.clock import milliseconds, utcnow
from uow.embedded import EmbeddedRedis
from uow.fast.claimer import Claimer
from uow.tasks.function import TaskFunction
from uow.tasks.registry import Registry

QUEUE = "arq:queue"

LEASE_MS = 60_000

HELD = 2_500
"""More than one call of the claim's script looks at."""


@pytest.fixture
def call(redis: RedisClient) -> Call:
    return caller(redis)


@pytest.fixture
def note(registry: Registry) -> TaskFunction[[], str]:
    @task("note", registry=registry)
    async def note(ctx: TaskContext) -> str:
        return "done"

    return note


async def hold(redis: RedisClient, queue: str, count: int) -> None:
    """Jobs that another kind of worker runs: due, and in front of all others."""
    await redis.zadd(queue, {f"{queue} {number}": 1 for number in range(count)})
    await redis.mset({f"arq:in-progress:{queue} {number}": b"1" for number in range(count)})


class TestScores:
    @pytest.mark.parametrize("at", [0, -0.0, -1, float("-inf")])
    async def test_there_is_no_score_that_is_never_run(
        self, at: float, client: TaskClient, note: TaskFunction[[], str], drain: Drain
    ) -> None:
        handle = await client.enqueue(note)
        await client.flush()
        await client.redis.zadd(QUEUE, {str(handle.id): at})
        async with asyncio.timeout(20):
            await drain()
        assert await handle.result(10) == "done"

    async def test_a_time_and_a_priority_that_make_0_make_a_score_that_is_run(
        self, client: TaskClient, note: TaskFunction[[], str], drain: Drain
    ) -> None:
        zero = datetime.fromtimestamp(9 * PRIORITY_STEP_MS / 1000, UTC)
        handle = await client.enqueue(note.options(run_at=zero, priority=9))
        await client.flush()
        assert await client.redis.zscore(QUEUE, str(handle.id)) == 1
        async with asyncio.timeout(20):
            await drain()
        assert await handle.result(10) == "done"

    @pytest.mark.parametrize("due_ms", [-(2**52), -1, 0, 1, 9 * PRIORITY_STEP_MS])
    def test_our_scores_are_above_0_whatever_is_asked_for(self, due_ms: int) -> None:
        assert [score(due_ms, priority) >= 1 for priority in range(10)] == [True] * 10

    async def test_entries_at_0_keep_nobody_waiting(self, redis: RedisClient, call: Call) -> None:
        await redis.zadd(QUEUE, {f"zero {number}": 0 for number in range(1_001)})
        await scripts.push(call, [Job("one", QUEUE, 1, 0, b"{}")])
        found: list[bytes] = []
        for _ in range(3):
            found += [one.job_id for one in (await claim(call, [QUEUE], 500, LEASE_MS, "me")).jobs]
        assert b"one" in found
        assert len(found) == len(set(found)) == 1_002


class TestTheScan:
    async def test_what_others_hold_in_front_hides_nothing_that_is_due(
        self, redis: RedisClient, call: Call
    ) -> None:
        await hold(redis, QUEUE, HELD)
        await redis.zadd(QUEUE, {"one": 2})
        found = await claim(call, [QUEUE], 1, LEASE_MS, "me")
        assert [one.job_id for one in found.jobs] == [b"one"]
        found = await claim(call, [QUEUE], 1, LEASE_MS, "me")
        assert (found.jobs, found.more) == ([], False)

    async def test_a_call_looks_at_a_bounded_number_of_entries(
        self, redis: RedisClient, call: Call
    ) -> None:
        """The rest is for the next one: Redis does nothing else meanwhile."""
        await hold(redis, QUEUE, HELD)
        _, _, stopped, *_ = await call("claim", [QUEUE], [1, LEASE_MS, "me"])
        assert 1_000 <= stopped[0] <= 1_100
        _, _, further, *_ = await call("claim", [QUEUE], [1, LEASE_MS, "me", *stopped])
        assert 2_000 <= further[0] <= 2_200
        _, _, ended, *_ = await call("claim", [QUEUE], [1, LEASE_MS, "me", *further])
        assert ended == [-1]

    async def test_of_queues_of_different_lengths_each_is_looked_through_once(
        self, redis: RedisClient, call: Call
    ) -> None:
        await hold(redis, "short", 1_500)
        await hold(redis, "long", HELD)
        await redis.zadd("long", {"one": 2})
        calls = 0

        async def counted(*said: Any) -> Any:
            nonlocal calls
            calls += 1
            return await call(*said)

        found = await claim(counted, ["short", "long"], 1, LEASE_MS, "me")
        assert [one.job_id for one in found.jobs] == [b"one"]
        assert calls == 3
        found = await claim(counted, ["short", "long"], 1, LEASE_MS, "me")
        assert (found.jobs, calls) == ([], 6)

    async def test_what_is_behind_them_is_looked_for_at_once_when_some_were_found(
        self, redis: RedisClient, call: Call
    ) -> None:
        """The jobs that were found are started meanwhile."""
        await redis.zadd(QUEUE, {"front": 0})
        await hold(redis, QUEUE, HELD)
        await redis.zadd(QUEUE, {"behind": 2})
        claimer = Claimer(call, {QUEUE: 1.0}, 60.0, "me", lambda _: None)
        rounds: list[Round] = [await claimer.claim(5)]
        while rounds[-1].more:
            rounds.append(await claimer.claim(5))
        assert [[one.job_id for one in found.jobs] for found in rounds] == [[b"front"], [b"behind"]]

    async def test_a_lease_without_an_end_is_given_one(
        self, redis: RedisClient, call: Call
    ) -> None:
        await scripts.push(call, [Job("one", QUEUE, 1, 0, b"{}")])
        await redis.set("arq:in-progress:one", "for ever")
        await scripts.tend(redis, QUEUE, 0, 2.0)
        assert 0 < await redis.pttl("arq:in-progress:one") <= 2_000

    async def test_stock_arq_is_shown_what_is_due_behind_what_others_hold(
        self, redis: RedisClient, redis_server: EmbeddedRedis
    ) -> None:
        await hold(redis, QUEUE, HELD)
        await redis.zadd(QUEUE, {"one": 2})
        patient = connect(redis_server.url, kind=PatientRedis)
        looks: list[list[bytes]] = []
        while not looks or not looks[-1]:
            looks.append(
                await patient.zrangebyscore(
                    QUEUE, min=float("-inf"), max=milliseconds(utcnow()), start=0, num=100
                )
            )
        assert b"one" in looks[-1]
        assert len(looks) == 3, "ten pages each"
        await patient.aclose()

    async def test_what_a_task_asks_of_its_own_sorted_sets_is_answered_as_asked(
        self, redis: RedisClient, redis_server: EmbeddedRedis
    ) -> None:
        """Its client is the one that arq works on."""
        await hold(redis, "mine", 5)
        patient = connect(redis_server.url, kind=PatientRedis)
        assert isinstance(patient, PatientRedis)
        patient.claiming = False
        found = await patient.zrangebyscore("mine", min=1, max=1, start=1, num=2)
        assert found == [b"mine 1", b"mine 2"]
        assert len(await patient.zrangebyscore("mine", 1, 1)) == 5
        await patient.aclose()


class TestClocks:
    @pytest.fixture(autouse=True)
    def _slow_redis(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Its clock is a minute behind everybody else's."""
        real = scripts.source

        def behind(name: str) -> str:
            said = real(name)
            assert said.count("time[1]") == said.count("time[1] * 1000")
            return said.replace("time[1] * 1000", "(time[1] - 60) * 1000")

        monkeypatch.setattr(scripts, "source", behind)
        caches = (scripts._script, connection._script)
        for cache in caches:
            cache.cache_clear()
        yield
        for cache in caches:
            cache.cache_clear()

    async def test_a_task_that_is_due_starts_at_once(
        self, client: TaskClient, note: TaskFunction[[], str], drain: Drain
    ) -> None:
        handle = await client.enqueue(note)
        await client.flush()
        async with asyncio.timeout(20):
            await drain()
        assert await handle.result(10) == "done"

    async def test_a_row_that_somebody_else_has_written_starts_at_once(
        self, client: TaskClient, db: Database, note: TaskFunction[[], str], drain: Drain
    ) -> None:
        await db.execute_once(text("INSERT INTO task (name, args) VALUES ('note', '{}')"), {})
        async with asyncio.timeout(20):
            await drain()
        found = await db.execute_once(text("SELECT state FROM task"), {})
        assert found.scalar_one() == "succeeded"

    async def test_a_rowless_task_starts_at_once(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("fire", registry=registry, durable=False)
        async def fire(ctx: TaskContext) -> str:
            return "fired"

        handle = await client.enqueue(fire)
        async with asyncio.timeout(20):
            await drain()
        assert await handle.result(10) == "fired"

    async def test_what_is_not_due_waits_all_the_same(self, redis: RedisClient, call: Call) -> None:
        now = milliseconds(utcnow())
        later = Job("later", QUEUE, now + 30_000, 0, b"{}")
        await scripts.push(call, [later, Job("due", QUEUE, now, 0, b"{}", is_due=True)])
        found = await claim(call, [QUEUE], 5, LEASE_MS, "me")
        assert [one.job_id for one in found.jobs] == [b"due"]
        assert await redis.zscore(QUEUE, "later") == later.score

    async def test_the_order_of_what_is_due_stays(self, redis: RedisClient, call: Call) -> None:
        now = milliseconds(utcnow())
        await scripts.push(call, [
            Job("today", QUEUE, now, 0, b"{}", is_due=True),
            Job("an hour ago", QUEUE, now - 3_600_000, 0, b"{}", is_due=True),
            Job("urgent", QUEUE, now, 9, b"{}", is_due=True),
        ])  # fmt: skip
        found = await claim(call, [QUEUE], 5, LEASE_MS, "me")
        assert [one.job_id for one in found.jobs] == [b"urgent", b"an hour ago", b"today"]

    async def test_what_is_taken_back_from_the_dead_is_due_at_once(
        self, redis: RedisClient, call: Call
    ) -> None:
        now = milliseconds(utcnow())
        await scripts.push(call, [Job("one", QUEUE, now, 0, b"{}", is_due=True)])
        await claim(call, [QUEUE], 1, LEASE_MS, "dead")
        await scripts.release(redis, [(QUEUE, "one", now)])
        assert len((await claim(call, [QUEUE], 1, LEASE_MS, "me")).jobs) == 1
