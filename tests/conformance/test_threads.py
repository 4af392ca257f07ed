"""Processes die and are stopped while a ``def`` runs in a thread, or a child process, of theirs."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.conformance import tasks, threading_tasks
from tests.conformance.conftest import (
    READY,
    House,
    effects_of,
    wait_until,
    wait_until_running,
)
from tests.conformance.test_failpoints import is_settled
from tests.processes import WorkerProcess
from uow import Database, Settings, TaskClient, TaskState
from uow.broker.redis import RedisClient

MODULES = "tests.conformance.threading_tasks"

Effects = Callable[[], Awaitable[list[str]]]
StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"task_modules": ("tests.conformance.tasks", MODULES)})


@pytest.mark.parametrize("point", ["started", "performed", "committed", "settled"])
async def test_a_worker_that_is_killed_anywhere_leaves_the_effect_exactly_once(
    point: str, client: TaskClient, db: Database, redis: RedisClient, start_worker: StartWorker,
    effects: Effects,
) -> None:  # fmt: skip
    await client.enqueue(threading_tasks.effect, what="once")
    killed = start_worker(FAILPOINT=f"{point}:kill")
    assert await asyncio.to_thread(killed.wait) == -signal.SIGKILL, killed.log
    start_worker()
    await is_settled(client, redis)
    assert await effects() == ["once"]
    states = await db.execute_once(tasks.STATES, {})
    assert [tuple(row) for row in states] == [(TaskState.SUCCEEDED, 0)]


async def test_killed_while_the_thread_runs_its_task_runs_again_and_once(house: House) -> None:
    killed = await house.start_worker(WORKER_TASK_MODULES=MODULES)
    handle = await house.client.enqueue(
        threading_tasks.hold_until, what="once", gate=str(house.gate)
    )
    await wait_until_running(house.client, handle.id)
    killed.kill9()
    await house.start_worker(WORKER_TASK_MODULES=MODULES)
    await handle.result(20)
    assert await effects_of(house.db) == ["once"]


@pytest.mark.parametrize("does", ["waits", "computes"])
async def test_a_thread_that_does_not_return_does_not_hold_a_stopping_process(
    house: House, does: str
) -> None:
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="0.5", WORKER_TASK_MODULES=MODULES)
    handle = await (
        house.client.enqueue(threading_tasks.hold_until, what="once", gate=str(house.gate))
        if does == "waits"
        else house.client.enqueue(threading_tasks.compute, what="once")
    )
    await wait_until_running(house.client, handle.id)
    began = time.monotonic()
    assert await asyncio.to_thread(worker.terminate) in (0, 1), worker.log
    assert time.monotonic() - began < 0.5 + 2
    assert "threading_tasks.py:" in worker.log  # where the thread is
    await house.start_worker(WORKER_TASK_MODULES=MODULES)
    await handle.result(20)
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.tries, view.errors) == (0, ())
    assert await effects_of(house.db) == ["once"]


async def test_running_threads_get_their_grace(house: House) -> None:
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="10", WORKER_TASK_MODULES=MODULES)
    handle = await house.client.enqueue(
        threading_tasks.hold_until, what="in time", gate=str(house.gate)
    )
    await wait_until_running(house.client, handle.id)
    worker.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.wait_for_log, "shutdown on SIG")
    house.gate.touch()
    assert await asyncio.to_thread(worker.wait) == 0, worker.log
    assert await handle.status() is TaskState.SUCCEEDED
    assert await effects_of(house.db) == ["in time"]


@pytest.mark.parametrize("state", ["40001", "57P01"])
async def test_an_error_of_the_infrastructure_burns_no_try(
    client: TaskClient, redis: RedisClient, start_worker: StartWorker, effects: Effects, state: str
) -> None:
    handle = await client.enqueue(threading_tasks.flaky_sql, what="once", state=state)
    start_worker()
    await handle.result(20)
    view = await client.get(handle.id)
    assert view is not None
    assert (view.attempt, view.tries) == (2, 0)
    assert await effects() == ["once"]


async def test_a_postgres_that_dies_under_a_thread_costs_no_try(house: House) -> None:
    worker = await house.start_worker(WORKER_TASK_MODULES=MODULES)
    handle = await house.client.enqueue(
        threading_tasks.hold_until, what="once", gate=str(house.gate)
    )
    await wait_until_running(house.client, handle.id)
    house.postgres.kill9()
    await asyncio.to_thread(worker.wait_for_log, "claims nothing")
    house.gate.touch()
    house.postgres.start()

    async def settled() -> bool:
        return bool((await house.db.execute_once(tasks.LEFT, {})).scalar_one() == 0)

    await wait_until(settled, 30)
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.state, view.tries) == (TaskState.SUCCEEDED, 0)
    assert await effects_of(house.db) == ["once"]


@pytest.mark.parametrize("way", ["returns", "exits"])
async def test_a_fork_that_comes_back_from_the_function_ends_there(
    client: TaskClient, effects: Effects, start_worker: StartWorker, way: str
) -> None:
    worker = start_worker()
    await asyncio.to_thread(worker.wait_for_log, READY)
    handle = await client.enqueue(threading_tasks.stray, way=way)
    assert await handle.result(30) == 1, worker.log
    assert await effects() == [way]
    await (await client.enqueue(threading_tasks.effect, what="later")).result(10)


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
async def test_a_child_process_ends_with_its_worker_and_its_task_runs_again(
    house: House, tmp_path: Path, how: str
) -> None:
    says = tmp_path / "pid"
    worker = await house.start_worker(WORKER_SHUTDOWN_GRACE="0.5", WORKER_TASK_MODULES=MODULES)
    handle = await house.client.enqueue(threading_tasks.hold_a_process, says=str(says))

    async def runs() -> bool:
        return says.exists() and bool(says.read_text())

    await wait_until(runs, 40)
    os.kill(worker.pid, signal.SIGKILL if how == "kill -9" else signal.SIGTERM)

    async def is_gone() -> bool:
        stat = Path(f"/proc/{says.read_text()}/stat")
        return not stat.exists() or ") Z " in stat.read_text()  # whoever inherits it may not reap

    try:
        await wait_until(is_gone, 1 if how == "kill -9" else 3)
    finally:  # or it would hold the worker's output open, and the test with it
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(says.read_text()), signal.SIGKILL)
    code = await asyncio.to_thread(worker.wait)
    assert code == (-signal.SIGKILL if how == "kill -9" else 0), worker.log
    await house.start_worker(WORKER_TASK_MODULES=MODULES)
    await handle.result(40)
    view = await house.client.get(handle.id)
    assert view is not None
    assert (view.attempt, view.tries) == (2, 0)
