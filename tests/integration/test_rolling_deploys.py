"""While two versions of the code are live: each meets what is meant for the other."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text

from tests.conftest import Drain
from tests.integration.test_attempts import view_of
from uow import (
    Database,
    InvalidArguments,
    Settings,
    TaskClient,
    TaskContext,
    TaskFailed,
    TaskState,
    task,
)
from uow.broker import codec, keys
from uow.broker.redis import RedisClient
from uow.tasks.handle import TaskHandle
from uow.tasks.registry import Registry

SINCE = text("SELECT unknown_since FROM task")
GRACE_IS_OVER = text("UPDATE task SET unknown_since = now() - interval '2 hours'")
TWO_HOURS_AGO = 7_200_000


@pytest.fixture
def deploy(registry: Registry) -> Callable[..., None]:
    """Replace the worker's code by a version with these functions."""

    def replace(*functions: Callable[..., Any], **options: Any) -> None:
        registry._functions.clear()
        for function in functions:
            task(function.__name__, registry=registry, **options)(function)

    return replace


async def old(ctx: TaskContext, n: int) -> str:
    return f"old {n}"


async def deliver(client: TaskClient, handle: TaskHandle[Any], drain: Drain) -> None:
    """Once more, now."""
    await client.redis.zadd("arq:queue", {str(handle.id): 1})
    await client.db.execute_once(text("UPDATE task SET run_at = now()"), {})
    await drain()


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    street: str


async def greet(ctx: TaskContext, n: int) -> str:
    return f"old {n}"


def newer() -> Callable[..., Any]:
    async def greet(ctx: TaskContext, n: int, loud: bool) -> str:
        return f"new {n} {loud}"

    return greet


Deploy = Callable[..., None]


class TestATaskOfAnotherVersion:
    @pytest.mark.parametrize(
        ("first", "then", "arguments"),
        [(greet, newer(), {"n": 1, "loud": True}), (newer(), greet, {"n": 1})],
        ids=["has an argument too many", "lacks one"],
    )
    async def test_waits_without_a_try_for_a_worker_that_has_its_parameters(
        self, client: TaskClient, deploy: Deploy, drain: Drain,
        first: Any, then: Any, arguments: dict[str, Any],
    ) -> None:  # fmt: skip
        deploy(first)
        handle = await client.enqueue("greet", **arguments)
        await drain()
        await deliver(client, handle, drain)
        view = await view_of(client, handle)
        assert (view.state, view.tries, view.errors) == (TaskState.QUEUED, 0, ())
        deploy(then)
        await deliver(client, handle, drain)
        assert str(await handle.result(10)).endswith(" 1 True" if "loud" in arguments else " 1")

    @pytest.mark.parametrize(("waited", "pause"), [(0, 1), (10, 10), (600, 30)])
    async def test_is_delivered_more_and_more_rarely(
        self, waited: int, pause: int, client: TaskClient, deploy: Deploy, drain: Drain
    ) -> None:
        deploy(greet)
        handle = await client.enqueue("greet", n=1, loud=True)
        since = text("UPDATE task SET unknown_since = now() - make_interval(secs => :waited)")
        await client.db.execute_once(since, {"waited": float(waited)})
        began = time.time()
        await drain()
        ended = time.time()
        score = await client.redis.zscore("arq:queue", str(handle.id))
        assert score is not None
        assert began + pause <= score / 1000 <= ended + pause + (ended - began) + 0.5

    async def test_fails_without_a_try_when_the_grace_is_over(
        self, client: TaskClient, deploy: Deploy, drain: Drain
    ) -> None:
        deploy(greet)
        handle = await client.enqueue("greet", n=1, loud=True)
        await client.db.execute_once(GRACE_IS_OVER, {})
        await drain()
        with pytest.raises(TaskFailed, match=r"ParametersDiffer: greet: loud: .* \(waited 72"):
            await handle.result(10)
        assert (await view_of(client, handle)).tries == 0

    async def test_has_its_grace_anew_when_its_function_was_there_in_between(
        self, client: TaskClient, deploy: Deploy, drain: Drain
    ) -> None:
        async def greet(ctx: TaskContext, n: int) -> None:
            raise ValueError("again")

        deploy(greet)
        await client.enqueue("greet", n=1)
        await client.db.execute_once(GRACE_IS_OVER, {})
        await drain()
        assert (await client.db.execute_once(SINCE, {})).scalar_one() is None

    async def test_may_differ_within_a_model(
        self, client: TaskClient, deploy: Deploy, drain: Drain
    ) -> None:
        async def send(ctx: TaskContext, to: Address) -> None: ...

        deploy(send)
        handle = await client.enqueue("send", to={"street": "here", "city": "there"})
        await drain()
        assert (await view_of(client, handle)).state is TaskState.QUEUED

    async def test_whose_row_was_renamed_waits_too(
        self, client: TaskClient, deploy: Deploy, drain: Drain
    ) -> None:
        deploy(greet)
        handle = await client.enqueue("greet", n=1)
        await client.flush()
        await client.db.execute_once(text("UPDATE task SET name = 'welcome'"), {})
        await drain()
        view = await view_of(client, handle)
        assert (view.state, view.tries) == (TaskState.QUEUED, 0)
        await client.db.execute_once(GRACE_IS_OVER, {})
        await deliver(client, handle, drain)
        with pytest.raises(TaskFailed, match=r"UnknownTask: .*welcome"):
            await handle.result(10)

    async def test_that_runs_elsewhere_is_not_failed_by_who_does_not_know_it(
        self, client: TaskClient, deploy: Deploy, drain: Drain
    ) -> None:
        deploy(greet)
        handle = await client.enqueue("of.the.next.version")
        running = text("UPDATE task SET state = 'running', unknown_since = now() - interval '2 h'")
        await client.db.execute_once(running, {})
        await deliver(client, handle, drain)
        assert (await view_of(client, handle)).state is TaskState.RUNNING


class TestAFaultOfItsOwn:
    async def test_a_value_that_does_not_fit_fails_at_once(
        self, client: TaskClient, deploy: Deploy, drain: Drain
    ) -> None:
        deploy(greet)
        handle = await client.enqueue("greet", n="x")
        await drain()
        with pytest.raises(TaskFailed, match="InvalidArguments: greet: n: "):
            await handle.result(10)

    async def test_a_task_that_enqueues_another_with_wrong_arguments_fails_at_once(
        self, client: TaskClient, registry: Registry, drain: Drain
    ) -> None:
        @task("other", registry=registry)
        async def other(ctx: TaskContext, n: int) -> None: ...

        @task("asks", registry=registry)
        async def asks(ctx: TaskContext) -> None:
            async with ctx["db"].get_session() as session:
                await other.enqueue(session, m=1)  # type: ignore[call-arg]

        handle = await client.enqueue(asks)
        await drain()
        with pytest.raises(TaskFailed, match="ParametersDiffer: other: "):
            await handle.result(10)

    def test_is_told_where_it_is_enqueued(self, registry: Registry) -> None:
        there = task("greet", registry=registry)(greet)
        with pytest.raises(InvalidArguments, match="greet: loud: "):
            there.signature.encode_arguments({"n": 1, "loud": True})


class TestWithoutARow:
    @pytest.mark.parametrize("payload", [{"a": [], "k": {"n": 1, "loud": True}},
                                         {"a": [1, True], "k": {}}])  # fmt: skip
    @pytest.mark.parametrize("durable", [True, False], ids=["stock", "rowless"])
    async def test_a_job_waits_without_a_try(
        self, db: Database, client: TaskClient, redis: RedisClient, deploy: Deploy, drain: Drain,
        payload: dict[str, Any], durable: bool,
    ) -> None:  # fmt: skip
        deploy(greet, durable=durable, max_tries=1)
        said = {"t": None, "f": "greet", "et": int(time.time() * 1000), **payload}
        await redis.set("arq:job:abc", codec.to_bytes(said))
        for _ in range(3):
            await redis.zadd("arq:queue", {"abc": 1})
            await drain()
        assert await redis.get(keys.result("abc")) is None
        assert int(await redis.get(keys.retries("abc")) or 0) == 0

        deploy(newer(), durable=durable, max_tries=1)
        await redis.zadd("arq:queue", {"abc": 1})
        await drain()
        result = await redis.get(keys.result("abc"))
        assert codec.deserialize(result)["r"] == "new 1 True"

    @pytest.mark.parametrize("durable", [True, False], ids=["stock", "rowless"])
    async def test_a_job_fails_when_the_grace_is_over(
        self, redis: RedisClient, deploy: Deploy, drain: Drain, durable: bool
    ) -> None:
        deploy(greet, durable=durable)
        enqueued = int(time.time() * 1000)
        said: dict[str, object]
        said = {"t": None, "f": "greet", "et": enqueued, "a": [], "k": {"m": 1}}
        await redis.set("arq:job:abc", codec.to_bytes(said))
        await redis.zadd("arq:queue", {"abc": 1})
        await drain()
        (sighting,) = await redis.keys(keys.unknown("*"))
        await redis.set(sighting, enqueued - TWO_HOURS_AGO)
        await redis.zadd("arq:queue", {"abc": 1})
        await drain()
        assert b"ParametersDiffer" in await redis.get(keys.result("abc"))

    async def test_a_job_of_an_unknown_name_burns_no_try_either(
        self, redis: RedisClient, deploy: Deploy, drain: Drain, settings: Settings
    ) -> None:
        deploy(old)
        said: dict[str, object]
        said = {"t": None, "f": "greet", "et": int(time.time() * 1000), "a": [], "k": {"n": 1}}
        await redis.set("arq:job:abc", codec.to_bytes(said))
        for _ in range(3):
            await redis.zadd("arq:queue", {"abc": 1})
            await drain()
        assert int(await redis.get(keys.retries("abc")) or 0) == 0
