"""The worker of tasks is run again, and closed whatever has become of it."""

import asyncio
from collections.abc import Callable

import pytest
from arq.worker import Worker
from pydantic import SecretStr

from tests.conftest import task_worker
from uow import Settings, TaskClient, TaskContext, task
from uow.embedded import EmbeddedRedis
from uow.errors import ServerUnreachable
from uow.fast.task_worker import TaskWorker
from uow.tasks.registry import Registry

Make = Callable[[Settings], Worker]


@pytest.fixture
def make(registry: Registry) -> Make:
    def build(settings: Settings) -> Worker:
        return task_worker(TaskWorker, settings, registry)[1]

    return build


async def end(worker: Worker) -> None:
    async with asyncio.timeout(15):
        await worker.close()


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
async def test_a_worker_of_tasks_can_be_run_again(
    make: Make, settings: Settings, client: TaskClient, registry: Registry, closed: bool
) -> None:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, number: int) -> int:
        return 2 * number

    worker = make(settings)
    for number in (1, 2, 3):
        async with client.db.get_session() as session:
            handle = await double.enqueue(session, number=number)
        await worker.async_run()
        assert await handle.result(timeout=5) == 2 * number
        if closed:
            await end(worker)
    await end(worker)


async def test_a_worker_that_is_run_again_has_one_group_commit(
    settings: Settings, client: TaskClient, registry: Registry
) -> None:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, number: int) -> int:
        return 2 * number

    _, worker = task_worker(TaskWorker, settings, registry, burst=False)
    for number in (1, 2, 3):
        handle = await client.enqueue(double, number=number)
        running = asyncio.create_task(worker.async_run())
        assert await handle.result(timeout=10) == 2 * number
        loops = [one for one in asyncio.all_tasks() if one.get_name() == "uow.groupcommit"]
        assert len(loops) == 1
        assert worker.main_task is not None
        worker.main_task.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await end(worker)


async def test_close_ends_when_redis_is_gone(
    make: Make, settings: Settings, client: TaskClient, registry: Registry
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    @task("wait", registry=registry)
    async def wait(ctx: TaskContext) -> str:
        inside.set()
        await go_on.wait()
        return "through"

    with EmbeddedRedis() as server:
        worker = make(settings.model_copy(update={"redis_url": SecretStr(server.url)}))
        async with client.db.get_session() as session:
            handle = await wait.enqueue(session)
        main = asyncio.ensure_future(worker.async_run())
        async with asyncio.timeout(10):
            await inside.wait()
        server.stop()
        go_on.set()
        assert await handle.result(timeout=10) == "through"
        await end(worker)
        await asyncio.wait([main], timeout=10)
        assert main.cancelled()


async def test_close_ends_after_a_startup_that_failed(
    make: Make, settings: Settings, registry: Registry
) -> None:
    @task("never", registry=registry)
    async def never(ctx: TaskContext) -> None: ...

    nowhere = SecretStr("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    update = {"database_url": nowhere, "connect_timeout": 0.1}
    worker = make(settings.model_copy(update=update))
    with pytest.raises(ServerUnreachable):
        await worker.async_run()
    await end(worker)
