"""What is in `ctx` is what is documented, and nothing else."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis, create_pool
from arq.worker import Worker, func

from tests.conftest import Drain, task_worker
from uow import Database, Settings, TaskClient, TaskContext, task
from uow.broker import codec
from uow.broker.redis import arq_settings
from uow.embedded import EmbeddedRedis
from uow.fast.task_worker import TaskWorker
from uow.fast.worker import FastWorker
from uow.stock.worker import BurstWorker
from uow.tasks.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "ctx.md"

KINDS: dict[str, dict[str, bool]] = {
    "durable": {}, "atomic=False": {"atomic": False}, "rowless": {"durable": False},
}  # fmt: skip


def documented() -> set[str]:
    """The keys on the page "What is in `ctx`"."""
    return set(re.findall(r'^\| `"(\w+)"` \|', PAGE.read_text(), re.MULTILINE))


def test_the_page_and_the_type_name_the_same_keys() -> None:
    assert documented() == {*TaskContext.__annotations__}


@asynccontextmanager
async def stock_client(server: EmbeddedRedis) -> AsyncIterator[ArqRedis]:
    wire: dict[str, Any] = {
        "job_serializer": codec.serialize, "job_deserializer": codec.deserialize,
    }  # fmt: skip
    pool = await create_pool(arq_settings(server.url), **wire)
    yield pool
    await pool.aclose()


@pytest.mark.parametrize("client_is", ["ours", "stock"])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_attempts_ctx_has_the_documented_keys_and_nothing_else(
    client: TaskClient, registry: Registry, drain: Drain, redis_server: EmbeddedRedis,
    kind: str, client_is: str,
) -> None:  # fmt: skip
    seen: list[set[str]] = []

    @task("look", max_tries=1, registry=registry, **KINDS[kind])  # type: ignore[arg-type]  # each has one option
    async def look(ctx: TaskContext) -> None:
        seen.append({*ctx})

    if client_is == "ours":
        await client.enqueue(look)
        await client.flush()
    else:
        async with stock_client(redis_server) as stock:
            await stock.enqueue_job("look")
    await drain()
    assert seen == [documented()]


@pytest.mark.parametrize("kind", [TaskWorker, BurstWorker])
async def test_the_process_shares_its_connections_and_settings_in_ctx_and_nothing_else(
    settings: Settings, registry: Registry, kind: type[TaskWorker | BurstWorker]
) -> None:
    @task("never", registry=registry)
    async def never(ctx: TaskContext) -> None: ...

    process, worker = task_worker(kind, settings, registry)
    try:
        await worker.async_run()
        assert {*worker.ctx} == {"settings", "redis", "db"}
        assert worker.ctx["settings"] is process.settings
        assert isinstance(worker.ctx["db"], Database)
        assert worker.ctx["db"] is process.runtime.db
    finally:
        await worker.close()


async def test_what_a_startup_hook_adds_is_in_the_ctx_of_each_attempt(
    settings: Settings, client: TaskClient, registry: Registry
) -> None:
    seen: list[object] = []

    @task("look", registry=registry)
    async def look(ctx: TaskContext) -> None:
        seen.append(ctx["mine"])  # type: ignore[typeddict-item]

    process, worker = task_worker(BurstWorker, settings, registry)

    async def start(ctx: dict[Any, Any]) -> None:
        await process.start(ctx)
        ctx["mine"] = "here"

    worker.on_startup = start
    await client.enqueue(look)
    await worker.async_run()
    await worker.close()
    assert seen == ["here"]


async def test_a_process_that_is_started_again_begins_afresh(
    settings: Settings, registry: Registry, client: TaskClient
) -> None:
    @task("never", registry=registry)
    async def never(ctx: TaskContext) -> None: ...

    process, worker = task_worker(BurstWorker, settings, registry)
    lives: list[Any] = []
    for _ in range(2):
        await worker.async_run()
        lives.append((process.services, process.death, worker.ctx["db"]))
    await worker.close()
    first, second = lives
    assert all(before is not after for before, after in zip(first, second, strict=True))


@pytest.mark.parametrize("engine", [Worker, FastWorker])
async def test_an_arq_classs_ctx_is_arqs_and_what_its_hooks_add(
    redis_server: EmbeddedRedis, redis: object, engine: type[Worker]
) -> None:
    seen: list[set[str]] = []

    async def look(ctx: dict[str, Any]) -> None:
        seen.append({*ctx})

    async def start(ctx: dict[Any, Any]) -> None:
        seen.append({*ctx})
        ctx["mine"] = "here"

    settings = arq_settings(redis_server.url)
    worker = engine(
        [func(look, name="look")],
        redis_settings=settings,
        burst=True,
        handle_signals=False,
        on_startup=start,
    )
    pool = await create_pool(settings)
    await pool.enqueue_job("look")
    await pool.aclose()
    assert await worker.run_check() == 1
    await worker.close()
    jobs = {"job_id", "job_try", "enqueue_time", "score"}
    assert seen == [{"redis"}, {"redis", "mine", *jobs}]
    assert {*worker.ctx} == {"redis", "mine"}
