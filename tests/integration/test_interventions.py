"""What somebody decides about a task from outside: to cancel it, or to let it run again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from arq import create_pool
from arq.connections import ArqRedis
from pydantic import SecretStr
from sqlalchemy import text

from tests.conftest import Drain
from uow import (
    Backoff,
    Database,
    Settings,
    TaskCancelled,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskFunction,
    TaskNotFound,
    TaskState,
    task,
)
from uow.broker import codec
from uow.broker.redis import RedisClient, arq_settings
from uow.db import attempts, outcomes
from uow.db import interventions as statements
from uow.db.interventions import KeyHolder
from uow.errors import InvalidOptions, UniqueKeyTaken
from uow.services.relay import Relay
from uow.tasks import interventions
from uow.tasks.handle import TaskHandle, TaskView
from uow.tasks.interventions import Retryable
from uow.tasks.registry import Registry

PUT = text("""
    INSERT INTO task (id, name, state, queue, user_id, unique_key, waiting_key, attempt, tries,
                      ended, settled_at)
    VALUES (:id, :name, :state, :queue, :user_id, :unique_key, :waiting_key, 1, 1,
            CASE WHEN :state IN ('failed', 'cancelled') THEN CAST(:state AS text) END,
            CASE WHEN :state IN ('succeeded', 'failed', 'cancelled')
                 THEN now() - make_interval(secs => :ago) END)
""")


async def put(db: Database, state: TaskState = TaskState.FAILED, /, **columns: Any) -> UUID:
    """A row in that state, settled `ago` seconds ago."""
    values = {
        "id": uuid4(), "name": "x", "state": state, "queue": "arq:queue", "user_id": None,
        "unique_key": None, "waiting_key": None, "ago": 60.0, **columns,
    }  # fmt: skip
    await db.execute_once(PUT, values)
    return UUID(str(values["id"]))


async def queued(db: Database) -> set[UUID]:
    found = await db.execute_once(text("SELECT id FROM task WHERE state = 'queued'"), {})
    return {row.id for row in found}


async def view_of(client: TaskClient, task_id: UUID) -> TaskView:
    view = await client.get(task_id)
    assert view is not None
    return view


@pytest.fixture
def moody(registry: Registry) -> TaskFunction[..., str]:
    """Fails as long as its mood is bad."""

    @task("moody", max_tries=2, backoff=Backoff(base=0), registry=registry)
    async def moody(ctx: TaskContext) -> str:
        if MOOD["bad"]:
            raise ValueError(f"attempt {ctx['task'].attempt}")
        return f"try {ctx['task'].tries + 1}"

    MOOD["bad"] = True
    return moody


MOOD = {"bad": True}


async def drain_until_settled(handle: TaskHandle[Any], drain: Drain) -> TaskState:
    while not (state := await handle.status()).settled:
        await drain()
    return state


class TestRetry:
    async def test_a_failed_task_runs_again_with_all_its_tries_and_keeps_its_history(
        self, client: TaskClient, moody: TaskFunction[..., str], drain: Drain
    ) -> None:
        handle = await client.enqueue(moody)
        assert await drain_until_settled(handle, drain) is TaskState.FAILED
        assert await handle.retry() is True
        again = await view_of(client, handle.id)
        assert (again.state, again.tries, again.settled_at) == (TaskState.QUEUED, 0, None)
        assert await drain_until_settled(handle, drain) is TaskState.FAILED
        view = await view_of(client, handle.id)
        assert view.tries == 2
        # One number is left out where somebody has asked.
        assert [error.message[-1] for error in view.errors] == ["1", "2", "4", "5"]
        MOOD["bad"] = False
        assert await client.retry(handle.id) is True
        await drain()
        assert await handle.result(10) == "try 1"

    async def test_a_cancelled_task_runs_again(
        self, client: TaskClient, moody: TaskFunction[..., str], drain: Drain
    ) -> None:
        MOOD["bad"] = False
        handle = await client.enqueue(moody.options(delay=3600))
        await handle.cancel()
        assert await handle.retry() is True
        await drain()
        assert await handle.result(10) == "try 1"
        assert (await view_of(client, handle.id)).attempt == 1

    async def test_it_is_pushed_at_once(
        self, db: Database, client: TaskClient, redis: RedisClient
    ) -> None:
        task_id = await put(db)
        await client.retry(task_id)
        await client.flush()
        assert await redis.zrange("arq:queue", 0, -1) == [str(task_id).encode()]

    async def test_without_redis_the_relay_pushes_it(
        self, db: Database, settings: Settings, redis: RedisClient
    ) -> None:
        task_id = await put(db)
        away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
        async with TaskClient.from_settings(away, db=db) as client:
            assert await client.retry(task_id) is True
        await db.execute_once(text("UPDATE task SET dispatch_at = now()"), {})
        assert await Relay(db, redis).run_once() == 1

    @pytest.mark.parametrize(
        "state",
        [state for state in TaskState if state not in (TaskState.FAILED, TaskState.CANCELLED)],
    )
    async def test_a_task_that_is_neither_failed_nor_cancelled_is_left_alone(
        self, db: Database, client: TaskClient, state: TaskState
    ) -> None:
        task_id = await put(db, state)
        assert await client.retry(task_id) is False
        assert (await view_of(client, task_id)).state is state

    async def test_a_task_that_is_not_there_is_not_found(self, client: TaskClient) -> None:
        task_id = uuid4()
        with pytest.raises(TaskNotFound, match=str(task_id)):
            await client.handle(task_id).retry()

    async def test_asked_for_a_hundred_times_at_once_it_runs_again_once(
        self, db: Database, client: TaskClient
    ) -> None:
        task_id = await put(db)
        answers = await asyncio.gather(*(client.retry(task_id) for _ in range(100)))
        assert answers.count(True) == 1

    @pytest.mark.parametrize("kind", ["unique_key", "waiting_key"])
    async def test_onto_a_key_that_is_taken_is_an_error_that_names_both_tasks(
        self, db: Database, client: TaskClient, kind: str
    ) -> None:
        task_id = await put(db, **{kind: "order 1"})
        holder = await put(db, TaskState.SCHEDULED, **{kind: "order 1"})
        says = f"task {task_id} cannot run again: task {holder} has its unique key 'order 1'"
        with pytest.raises(UniqueKeyTaken, match=says):
            await client.retry(task_id)
        assert (await view_of(client, task_id)).state is TaskState.FAILED
        await client.cancel(holder)
        assert await client.retry(task_id) is True

    async def test_a_holder_that_settles_meanwhile_is_no_error(
        self, db: Database, client: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task_id = await put(db, unique_key="k")
        holder = await put(db, TaskState.QUEUED, unique_key="k")
        look = statements.find_key_holder

        async def settle_before_the_look(db: Database, task_id: UUID) -> KeyHolder | None:
            await statements.cancel(db, holder, 60.0)
            return await look(db, task_id)

        monkeypatch.setattr(statements, "find_key_holder", settle_before_the_look)
        assert await client.retry(task_id) is True

    async def test_a_retried_task_holds_its_key_again(
        self, client: TaskClient, moody: TaskFunction[..., str], drain: Drain
    ) -> None:
        once = moody.options(unique_key="k")
        handle = await client.enqueue(once)
        await drain_until_settled(handle, drain)
        await handle.retry()
        assert (await client.enqueue(once)).id == handle.id

    async def test_a_task_without_a_row_refuses(
        self, client: TaskClient, registry: Registry
    ) -> None:
        @task("plain", durable=False, registry=registry)
        async def plain(ctx: TaskContext) -> None: ...

        handle = await client.enqueue(plain)
        for ask in (handle.retry, handle.cancel):
            with pytest.raises(InvalidOptions, match="durable=False"):
                await ask()

    async def test_a_stock_clients_job_runs_again_under_its_own_id(
        self,
        db: Database,
        client: TaskClient,
        settings: Settings,
        moody: TaskFunction[..., str],
        drain: Drain,
    ) -> None:
        async with stock_client(settings) as stock:
            job = await stock.enqueue_job("moody", _job_id="mine")
            assert job is not None
            row = text("SELECT id, state FROM task")
            while (found := (await db.execute_once(row, {})).first()) is None or (
                found.state != "failed"
            ):
                await drain()
            with pytest.raises(TaskFailed):
                await job.result(timeout=10)
            MOOD["bad"] = False
            assert await client.retry(found.id) is True
            await client.flush()
            assert await stock.zrange("arq:queue", 0, -1) == [b"mine"]
            assert await job.result_info() is None  # nobody takes the old failure for the new end
            await drain()
            assert await job.result(timeout=10) == "try 1"
        assert await client.handle(found.id).result(10) == "try 1"

    async def test_what_an_attempt_from_before_the_cancel_says_is_not_the_new_runs(
        self, db: Database, client: TaskClient
    ) -> None:
        task_id = await put(db, TaskState.RUNNING)
        stale, error = (task_id, 1), ValueError("late")
        await client.cancel(task_id)
        await client.retry(task_id)
        assert not await outcomes.fail(db, *stale, error, 60.0)
        assert not await outcomes.retry(db, *stale, error, 60.0)
        assert await outcomes.hand_back(db, *stale, 60.0) is None
        assert not await attempts.report_progress(db, *stale, "{}")
        assert not await attempts.is_current(db, *stale)
        view = await view_of(client, task_id)
        assert (view.state, view.tries, view.errors) == (TaskState.QUEUED, 0, ())


class TestRetryMany:
    async def test_each_filter_takes_what_fits_and_nothing_else(
        self, db: Database, client: TaskClient
    ) -> None:
        filters: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"name": "mail.send"}, {"name": "mail.send"}),
            ({"queue": "arq:slow"}, {"queue": "arq:slow"}),
            ({"user_id": 7}, {"user_id": "7"}),
            ({"state": "cancelled"}, {"state": TaskState.CANCELLED}),
            (
                {"settled_before": datetime.now(UTC) - timedelta(hours=1)},
                {"ago": timedelta(hours=2).total_seconds()},
            ),
            (
                {"name": "mail.send", "user_id": "8"},
                {"name": "mail.send", "user_id": "8"},
            ),
        ]
        meant = [await put(db, **columns) for _, columns in filters]
        await put(db)
        await put(db, TaskState.SUCCEEDED, name="mail.send")
        await put(db, TaskState.RUNNING, name="mail.send")
        for (given, _), task_id in reversed(list(zip(filters, meant, strict=True))):
            before = await queued(db)
            assert await client.retry_many(**given) == 1, given
            assert await queued(db) - before == {task_id}

    @pytest.mark.parametrize(("state", "count"), [("failed", 1), ("cancelled", 2), ("both", 3)])
    async def test_a_state_alone_means_every_task_in_it(
        self, db: Database, client: TaskClient, state: Retryable, count: int
    ) -> None:
        for settled in (TaskState.FAILED, TaskState.CANCELLED, TaskState.CANCELLED):
            await put(db, settled)
        assert await client.retry_many(state=state) == count

    async def test_nothing_given_is_refused_rather_than_taken_for_everything(
        self, db: Database, client: TaskClient
    ) -> None:
        await put(db)
        nothing: list[dict[str, Any]] = [{}, {"name": None}, {"limit": 5}]
        for given in nothing:
            with pytest.raises(InvalidOptions, match="or a state, which alone means every task"):
                await client.retry_many(**given)
        assert await queued(db) == set()

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"state": "succeeded"}, "none of failed, cancelled, both"),
            ({"settled_before": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001
            ({"name": "x", "limit": 0}, "limit=0 is not a positive number"),
            ({"name": "\x00"}, "name is none that a task can have"),
        ],
    )
    async def test_a_value_that_does_not_fit_is_refused(
        self, client: TaskClient, given: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(InvalidOptions, match=says):
            await client.retry_many(**given)

    async def test_a_limit_takes_those_that_wait_longest(
        self, db: Database, client: TaskClient
    ) -> None:
        ids = [await put(db, ago=float(ago)) for ago in (10, 50, 30, 40, 20)]
        assert await client.retry_many(name="x", limit=2) == 2
        assert await queued(db) == {ids[1], ids[3]}

    async def test_more_than_a_batch_is_retried_and_pushed(
        self,
        db: Database,
        client: TaskClient,
        redis: RedisClient,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(interventions, "BATCH", 10)
        for _ in range(25):
            await put(db)
        assert await client.retry_many(state="failed") == 25
        await client.flush()
        assert await redis.zcard("arq:queue") == 25

    @pytest.mark.parametrize("kind", ["unique_key", "waiting_key"])
    async def test_a_task_whose_key_is_taken_is_left_alone(
        self, db: Database, client: TaskClient, kind: str
    ) -> None:
        taken = await put(db, **{kind: "taken"})
        holder = await put(db, TaskState.SCHEDULED, **{kind: "taken"})
        free = await put(db, **{kind: "free"})
        assert await client.retry_many(name="x") == 1
        assert await queued(db) == {free}
        for task_id, state in ((taken, TaskState.FAILED), (holder, TaskState.SCHEDULED)):
            assert (await view_of(client, task_id)).state is state

    @pytest.mark.parametrize("kind", ["unique_key", "waiting_key"])
    async def test_of_several_with_one_key_only_the_youngest_comes_back(
        self, db: Database, client: TaskClient, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(interventions, "BATCH", 1)
        ids = [await put(db, ago=float(ago), **{kind: "k"}) for ago in (30, 10, 20)]
        assert await client.retry_many(name="x") == 1
        assert await queued(db) == {ids[1]}

    async def test_a_key_that_is_taken_meanwhile_leaves_only_its_task_behind(
        self, db: Database, client: TaskClient
    ) -> None:
        """The key's other task is written, but not committed, when the batch is run."""
        ids = [await put(db, unique_key=f"k{n}", ago=float(n)) for n in range(10)]
        async with db.engine.connect() as connection:
            insert = text(
                "INSERT INTO task (name, unique_key, state) VALUES ('y', 'k3', 'running')"
            )
            await connection.execute(insert)
            retrying = asyncio.create_task(client.retry_many(name="x"))
            await until_somebody_waits(db)
            await connection.commit()
        assert await retrying == 9
        assert await queued(db) == {*ids} - {ids[3]}

    async def test_two_at_once_share_the_tasks_between_them(
        self, db: Database, client: TaskClient
    ) -> None:
        for n in range(300):
            await put(db, unique_key=f"k{n}")
        counts = await asyncio.gather(*(client.retry_many(name="x") for _ in range(4)))
        assert sum(counts) == 300


class TestCancel:
    async def test_a_scheduled_and_a_queued_task_never_run(
        self, client: TaskClient, moody: TaskFunction[..., str], drain: Drain
    ) -> None:
        scheduled = await client.enqueue(moody.options(delay=30))
        waiting = await client.enqueue(moody)
        for handle, state in ((scheduled, TaskState.SCHEDULED), (waiting, TaskState.QUEUED)):
            assert await handle.status() is state
            assert await handle.cancel() is True
            assert await handle.cancel() is False
        await drain()
        for handle in (scheduled, waiting):
            view = await view_of(client, handle.id)
            assert (view.state, view.attempt) == (TaskState.CANCELLED, 0)

    async def test_a_retrying_task_has_had_its_last_attempt(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("fails", backoff=Backoff(base=60), registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError

        handle = await client.enqueue(fails)
        await drain()
        assert await handle.status() is TaskState.RETRYING
        assert await handle.cancel() is True
        with pytest.raises(TaskCancelled):
            await handle.result(10)
        view = await view_of(client, handle.id)
        assert [error.error_type for error in view.errors] == ["ValueError"]

    async def test_a_running_task_is_interrupted_and_commits_nothing(
        self, db: Database, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        await db.execute_once(text("CREATE TABLE effect (what text)"), {})
        started, interrupted = asyncio.Event(), asyncio.Event()

        @task("endless", registry=registry)
        async def endless(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await session.execute(text("INSERT INTO effect VALUES ('x')"))
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                interrupted.set()

        handle = await client.enqueue(endless)
        draining = asyncio.create_task(drain())
        await started.wait()
        assert await handle.status() is TaskState.RUNNING
        assert await handle.cancel() is True
        assert await handle.status() is TaskState.CANCELLED
        await interrupted.wait()
        await draining
        effects = await db.execute_once(text("SELECT count(*) FROM effect"), {})
        assert effects.scalar_one() == 0
        assert await handle.status() is TaskState.CANCELLED

    async def test_a_running_task_that_is_cancelled_and_retried_runs_to_its_end(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        started = asyncio.Event()

        @task("endless.once", registry=registry)
        async def endless_once(ctx: TaskContext) -> str:
            if not started.is_set():
                started.set()
                await asyncio.Event().wait()
            return "done"

        handle = await client.enqueue(endless_once)
        draining = asyncio.create_task(drain())
        await started.wait()
        assert await handle.cancel()
        assert await handle.retry()
        while not (await handle.status()).settled:
            await draining
            draining = asyncio.create_task(drain())
        await draining
        assert await handle.result(10) == "done"

    async def test_a_task_that_is_settled_or_not_there_is_left_alone(
        self, db: Database, client: TaskClient
    ) -> None:
        for state in TaskState:
            if state.settled:
                task_id = await put(db, state)
                assert await client.cancel(task_id) is False
                assert (await view_of(client, task_id)).state is state
        assert await client.cancel(uuid4()) is False

    async def test_without_redis_it_is_cancelled_all_the_same(
        self, db: Database, settings: Settings
    ) -> None:
        task_id = await put(db, TaskState.RUNNING)
        away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
        async with TaskClient.from_settings(away, db=db) as client:
            assert await client.cancel(task_id) is True

    async def test_another_task_under_the_same_job_id_is_not_touched(
        self, db: Database, client: TaskClient, settings: Settings, registry: Registry, drain: Drain
    ) -> None:
        """A stock client uses a job id again while the first task of that id waits in Postgres."""
        running: dict[str, asyncio.Event] = {name: asyncio.Event() for name in ("again", "other")}
        go_on, interrupted = asyncio.Event(), asyncio.Event()

        @task("mine", backoff=Backoff(base=600, jitter=0, cap=600), registry=registry)
        async def mine(ctx: TaskContext, name: str) -> str:
            if name == "first":
                raise ValueError
            running[name].set()
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                interrupted.set()
                raise
            return name

        async with stock_client(settings) as stock:
            await stock.enqueue_job("mine", "first", _job_id="same")
            await drain()
            await stock.enqueue_job("mine", "again", _job_id="same")
        found = await db.execute_once(text("SELECT id FROM task WHERE state = 'retrying'"), {})
        first = client.handle(found.scalar_one())
        other = await client.enqueue(mine, name="other")
        draining = asyncio.create_task(drain())
        await asyncio.gather(*(event.wait() for event in running.values()))
        assert await first.cancel()
        assert await other.cancel()  # its hint comes after the first one's
        await interrupted.wait()
        go_on.set()
        await draining
        rows = await db.execute_once(
            text("SELECT args->>'name' AS name, state, attempt FROM task ORDER BY name"), {}
        )
        assert [tuple(row) for row in rows] == [
            ("again", "succeeded", 1),
            ("first", "cancelled", 1),
            ("other", "cancelled", 1),
        ]


@asynccontextmanager
async def stock_client(settings: Settings) -> AsyncIterator[ArqRedis]:
    """As a stock arq client is made: `create_pool` with our serializer."""
    pool = await create_pool(
        arq_settings(settings.redis_url.get_secret_value()),
        job_serializer=codec.serialize,
        job_deserializer=codec.deserialize,
    )
    yield pool
    await pool.aclose()


async def until_somebody_waits(db: Database) -> None:
    """Until one transaction waits for another."""
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
    while not (await db.execute_once(waits, {})).scalar_one():
        pass
