"""A task may start processes, in whatever way: the worker goes on, and nobody speaks for it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.conformance import forking, tasks
from tests.conformance.conftest import READY
from tests.processes import WorkerProcess
from uow import Settings, TaskClient

Effects = Callable[[], Awaitable[list[str]]]

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    modules = ("tests.conformance.tasks", "tests.conformance.forking")
    return settings.model_copy(update={"task_modules": modules})


@pytest.fixture
def worker(effects: Effects, start_worker: Callable[..., WorkerProcess]) -> WorkerProcess:
    process = start_worker()
    process.wait_for_log(READY)
    return process


@pytest.fixture(autouse=True)
async def _goes_on(
    worker: WorkerProcess, client: TaskClient, effects: Effects
) -> AsyncIterator[None]:
    """After each test the worker is well, and so are its connections."""
    yield
    for n in range(3):
        await (await client.enqueue(tasks.effect, what=f"later {n}")).result(10)
    assert {"later 0", "later 1", "later 2"} <= {*await effects()}
    assert await asyncio.to_thread(worker.terminate) == 0, worker.log


async def test_sigterm_to_a_fork_ends_the_fork_and_nobody_else(client: TaskClient) -> None:
    handle = await client.enqueue(forking.terminate)
    assert await handle.result(30) == -signal.SIGTERM


@pytest.mark.parametrize("method", METHODS)
async def test_a_pool_of_processes_works_in_a_task(client: TaskClient, method: str) -> None:
    for function in (forking.pool, forking.executor):
        handle = await client.enqueue(function, method=method)
        assert await handle.result(60) == [1, 2, 3]


async def test_a_fork_has_none_of_the_workers_connections(
    client: TaskClient, effects: Effects
) -> None:
    handle = await client.enqueue(forking.connections)
    assert await handle.result(30) == []
    assert await effects() == ["forked"]


@pytest.mark.parametrize("way", ["returns", "exits", "queries"])
async def test_a_fork_that_comes_back_to_the_event_loop_ends_there(
    client: TaskClient, effects: Effects, worker: WorkerProcess, way: str
) -> None:
    handle = await client.enqueue(forking.stray, way=way)
    assert await handle.result(30) == 1, worker.log
    assert await effects() == [way]
    assert "a fork of this worker, has come back to the event loop, and ends" in worker.log
