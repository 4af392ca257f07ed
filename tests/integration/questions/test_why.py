"""Why is it waiting: against real servers, and workers that run."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

import uow
from tests.conftest import task_worker
from uow import Database, Settings, SettingsError, TaskClient, TaskContext, TaskNotFound, task
from uow.broker import keys
from uow.broker.place import PlaceInQueue, place_of
from uow.broker.redis import RedisClient, connect
from uow.db import fleet
from uow.db.code import Code
from uow.fast.task_worker import TaskWorker
from uow.questions.reasons import (
    FunctionIsUnknown,
    IsBeingRescued,
    IsHandedBack,
    IsRunning,
    IsSuspect,
    OthersAreInFront,
    Reason,
)
from uow.questions.why import why
from uow.services.presence import Presence
from uow.services.relay import Relay
from uow.stock.worker import BurstWorker
from uow.tasks.handle import TaskHandle
from uow.tasks.registry import Registry

Ask = Callable[[Any], Awaitable[Reason]]
Working = Callable[[Settings], AbstractAsyncContextManager[None]]

RUNNING_IN_A_DEAD_PROCESS = text(
    "UPDATE task SET state = 'running', worker = 'dead', attempt = 1, started_at = now(), "
    "dispatch_at = 'infinity'"
)
AS_AN_OLDER_WORKER = text(
    "INSERT INTO worker_process (id, app, queue, running, leaving) "
    "VALUES ('older', 'worker', 'arq:queue', '{}', false)"
)


@pytest.fixture
def ask(db: Database, redis: RedisClient, settings: Settings) -> Ask:
    async def answer(handle: TaskHandle[Any] | UUID) -> Reason:
        task_id = handle if isinstance(handle, UUID) else handle.id
        return await why(db, redis, settings, task_id)

    return answer


@pytest.fixture
async def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"concurrency": 1, "task_modules": ()})


@pytest.fixture
async def lives(db: Database, settings: Settings) -> Presence:
    """A worker that lives, knows `mail`, leads, and never runs anything."""
    presence = Presence(db, "me", settings, running=list, code=Code.of(["mail"]))
    await presence.run_once()
    await fleet.lead(db, "me", 60)
    return presence


async def until(ask: Ask, handle: Any, name: str) -> Reason:
    """Ask until this is the answer."""
    end = time.monotonic() + 10
    while (answer := await ask(handle)).name != name:
        assert time.monotonic() < end, f"it still is {answer.name}: {answer.text}"
        await asyncio.sleep(0.02)
    return answer


class TestOfATask:
    async def test_that_is_not_there_there_is_no_answer(self, ask: Ask) -> None:
        with pytest.raises(TaskNotFound):
            await ask(uuid4())

    async def test_that_is_settled_it_is_said(self, client: TaskClient, ask: Ask) -> None:
        handle = await client.enqueue("mail")
        await client.cancel(handle.id)
        answer = await ask(handle)
        assert (answer.name, answer.text[:33]) == ("settled", "it does not wait: it is cancelled")

    async def test_that_is_not_due_it_is_said_until_when(
        self, client: TaskClient, ask: Ask, db: Database
    ) -> None:
        run_at = datetime(2090, 1, 31, 12, tzinfo=UTC)
        handle = await client.enqueue(uow.TaskRef("mail").options(run_at=run_at))
        answer = await ask(handle)
        assert (answer.name, answer.text) == ("not_due", "it is not due until 2090-01-31T12:00:00Z")
        await db.execute_once(text("UPDATE task SET state = 'retrying', attempt = 2"), {})
        assert (await ask(handle)).text.endswith("Z: its attempt 2 has failed")

    async def test_whose_queue_has_no_worker_it_is_said(
        self, client: TaskClient, ask: Ask, lives: Presence
    ) -> None:
        other = await client.enqueue(uow.TaskRef("mail").options(queue="other"))
        assert (await ask(other)).name == "unserved"
        handle = await client.enqueue("mail")
        assert (await ask(handle)).name != "unserved"
        lives.prepare_to_leave()
        await lives.run_once()
        assert (await ask(handle)).name == "unserved"

    async def test_a_worker_that_has_died_or_left_serves_nothing(
        self, client: TaskClient, ask: Ask, lives: Presence, db: Database
    ) -> None:
        handle = await client.enqueue("mail")
        await db.execute_once(
            text("UPDATE worker_process SET heartbeat_at = now() - interval '1 hour'"), {}
        )
        assert (await ask(handle)).name == "unserved"
        await lives.run_once()
        assert (await ask(handle)).name != "unserved"
        await lives.stop()
        assert (await ask(handle)).name == "unserved"

    async def test_that_a_dead_process_ran_it_is_being_rescued(
        self, client: TaskClient, ask: Ask, lives: Presence, db: Database
    ) -> None:
        handle = await client.enqueue("mail")
        await db.execute_once(RUNNING_IN_A_DEAD_PROCESS, {})
        assert await ask(handle) == IsBeingRescued("dead")

    async def test_whose_job_redis_has_lost_the_leader_puts_it_back(
        self, client: TaskClient, ask: Ask, lives: Presence, db: Database, redis: RedisClient
    ) -> None:
        handle = await client.enqueue("mail")
        await client.flush()
        assert (await ask(handle)).name == "about_to_start"
        await db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})
        assert (await ask(handle)).name == "about_to_start"
        await redis.flushall()
        assert await ask(handle) == IsBeingRescued(None)
        await fleet.resign(db, "me")
        assert (await ask(handle)).name == "leader_gone"

    async def test_that_was_just_committed_it_is_on_its_way(
        self, client: TaskClient, ask: Ask, lives: Presence, redis: RedisClient
    ) -> None:
        handle = await client.enqueue("mail")
        await client.flush()
        await redis.flushall()  # as if nobody had pushed it
        assert "on its way into Redis" in (await ask(handle)).text

    async def test_that_is_settled_while_somebody_asks_nothing_is_said_to_be_lost(
        self, client: TaskClient, ask: Ask, lives: Presence, db: Database, redis: RedisClient,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        handle = await client.enqueue("mail")
        await client.flush()
        await db.execute_once(text("UPDATE task SET dispatch_at = 'infinity'"), {})

        async def settled_meanwhile(redis: RedisClient, queue: str, job_id: str) -> PlaceInQueue:
            await client.cancel(handle.id)
            await redis.flushall()
            return await place_of(redis, queue, job_id)

        monkeypatch.setattr("uow.questions.why.place_of", settled_meanwhile)
        assert (await ask(handle)).name == "settled"

    async def test_while_redis_is_away_it_is_said(
        self, client: TaskClient, settings: Settings, lives: Presence, db: Database
    ) -> None:
        handle = await client.enqueue("mail")
        away = connect("redis://127.0.0.1:1/0")
        assert (await why(db, away, settings, handle.id)).name == "redis_away"
        await away.aclose()

    async def test_in_what_is_no_queue_it_is_told_what_redis_refuses(
        self, client: TaskClient, ask: Ask, lives: Presence, redis: RedisClient
    ) -> None:
        handle = await client.enqueue("mail")
        await client.flush()
        await redis.set("arq:queue", "something else")
        with pytest.raises(SettingsError, match="stands in queue 'arq:queue' .*WRONGTYPE"):
            await ask(handle)

    async def test_that_was_handed_back_in_redis_it_is_said_until_when(
        self, client: TaskClient, ask: Ask, lives: Presence, redis: RedisClient
    ) -> None:
        handle = await client.enqueue("mail")
        await client.flush()
        later = datetime(2090, 1, 31, 12, tzinfo=UTC)
        await redis.zadd("arq:queue", {str(handle.id): int(later.timestamp() * 1000)})
        assert await ask(handle) == IsHandedBack(later)

    async def test_what_others_hold_is_not_in_front_of_it(
        self, client: TaskClient, ask: Ask, lives: Presence, redis: RedisClient
    ) -> None:
        """Stock arq leaves what it runs where it stood."""
        first, second, third = [await client.enqueue("mail") for _ in range(3)]
        await client.flush()
        for place, handle in enumerate([first, second, third]):
            await redis.zadd("arq:queue", {str(handle.id): 1 + place})
        assert await ask(third) == OthersAreInFront("arq:queue", 2)
        await redis.set(keys.in_progress(str(first.id)), "stock", px=60_000)
        assert await ask(third) == OthersAreInFront("arq:queue", 1)
        assert (await ask(first)).text == "nothing holds it back: a worker has claimed it"

    async def test_whose_function_an_older_worker_may_have_it_is_not_said_to_be_unknown(
        self, client: TaskClient, ask: Ask, lives: Presence, db: Database
    ) -> None:
        handle = await client.enqueue("nobody.has.this")
        await client.flush()
        assert (await ask(handle)).name == "unknown_function"
        await db.execute_once(AS_AN_OLDER_WORKER, {})
        assert (await ask(handle)).name == "about_to_start"


class TestOfARealWorker:
    """With one slot, unless a test says otherwise."""

    @pytest.fixture(params=["fast", "stock"])
    def working(self, request: pytest.FixtureRequest, registry: Registry) -> Working:
        """A worker of either kind that works while the block runs."""
        kinds: dict[str, type[TaskWorker | BurstWorker]] = {
            "stock": BurstWorker, "fast": TaskWorker,
        }  # fmt: skip

        @asynccontextmanager
        async def works(settings: Settings) -> AsyncIterator[None]:
            kind = kinds[request.param]
            _, worker = task_worker(kind, settings, registry, burst=False, poll_delay=0.01)
            runs = asyncio.create_task(worker.async_run())
            try:
                yield
            finally:
                runs.cancel()
                await asyncio.wait([runs])
                await worker.close()

        return works

    @pytest.fixture
    def gate(self) -> asyncio.Event:
        return asyncio.Event()

    @pytest.fixture
    def ran(self) -> list[str]:
        return []

    @pytest.fixture
    def registry(self, registry: Registry, gate: asyncio.Event, ran: list[str]) -> Registry:
        @task("hold", registry=registry)
        async def hold(ctx: TaskContext) -> None:
            await gate.wait()

        @task("note", registry=registry)
        async def note(ctx: TaskContext, what: str) -> None:
            ran.append(what)

        return registry

    async def test_what_runs_is_said_to_run_and_what_is_next_that_no_slot_is_free(
        self, settings: Settings, working: Working, client: TaskClient, ask: Ask,
        gate: asyncio.Event,
    ) -> None:  # fmt: skip
        async with working(settings):
            runs = await client.enqueue("hold")
            answer = await until(ask, runs, "running")
            assert isinstance(answer, IsRunning)
            assert answer.since is not None
            assert abs(datetime.now(UTC) - answer.since) < timedelta(seconds=10)
            waits = await client.enqueue("note", what="then")
            answer = await until(ask, waits, "no_free_slot")
            assert "the only slot for queue 'arq:queue' is taken" in answer.text
            gate.set()
            await until(ask, runs, "settled")
            await until(ask, waits, "settled")

    async def test_so_many_are_said_to_be_in_front_as_are_run_before(
        self, settings: Settings, working: Working, client: TaskClient, ask: Ask,
        gate: asyncio.Event, ran: list[str],
    ) -> None:  # fmt: skip
        async with working(settings):
            await until(ask, await client.enqueue("hold"), "running")
            now = datetime.now(UTC)
            tasks = {}
            for what, priority, ago in [("b", 0, 20), ("c", 0, 10), ("a", 5, 1)]:
                due = now - timedelta(seconds=ago)
                ref = uow.TaskRef("note").options(run_at=due, priority=priority)
                tasks[what] = await client.enqueue(ref, what=what)
            await client.flush()
            await until(ask, tasks["a"], "no_free_slot")
            assert await ask(tasks["b"]) == OthersAreInFront("arq:queue", 1)
            assert await ask(tasks["c"]) == OthersAreInFront("arq:queue", 2)
            gate.set()
            await until(ask, tasks["c"], "settled")
            assert ran == ["a", "b", "c"]

    async def test_what_nobody_has_the_function_of_is_said_with_the_end_of_its_grace(
        self, settings: Settings, working: Working, client: TaskClient, ask: Ask, db: Database
    ) -> None:
        async with working(settings):
            handle = await client.enqueue("nobody.has.this")
            met = text("SELECT unknown_since FROM task")
            end = time.monotonic() + 10
            while (since := (await db.execute_once(met, {})).scalar_one()) is None:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            answer = await until(ask, handle, "unknown_function")
            grace = timedelta(seconds=settings.unknown_task_grace)
            expected = FunctionIsUnknown("nobody.has.this", "arq:queue", since, since + grace)
            assert answer == expected

    async def test_a_suspect_waits_for_its_neighbour_to_end(
        self, settings: Settings, working: Working, client: TaskClient, ask: Ask, db: Database,
        gate: asyncio.Event,
    ) -> None:  # fmt: skip
        roomy = settings.model_copy(update={"concurrency": 2})
        async with working(roomy):
            await until(ask, await client.enqueue("hold"), "running")
            later = uow.TaskRef("note").options(delay=3600)
            suspect = await client.enqueue(later, what="alone")
            suspected = text("UPDATE task SET deaths = 2, run_at = now(), dispatch_at = now() "
                             "WHERE name = 'note'")  # fmt: skip
            await db.execute_once(suspected, {})
            await Relay(db, client.redis).run_once()
            end = time.monotonic() + 10
            while True:
                answer = await until(ask, suspect, "suspect")
                if isinstance(answer, IsSuspect) and answer.worker is not None:
                    break
                assert time.monotonic() < end
            assert "2 processes have died under it" in answer.text
            gate.set()
            await until(ask, suspect, "settled")
