"""A process that is out of file descriptors says so, bothers nobody, and ends if that lasts."""

import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable

import pytest

from tests.conformance import exhausting, tasks
from tests.conformance.conftest import READY, WORKERS, wait_until_running
from tests.processes import LoggedProcess, WorkerProcess, environment_of, run_logged
from uow import Settings, TaskClient
from uow.broker.redis import RedisClient

Effects = Callable[[], Awaitable[list[str]]]
Start = Callable[..., WorkerProcess]

DESCRIPTORS = 150

SHORT = f"this process is out of file descriptors (RLIMIT_NOFILE={DESCRIPTORS})"

pytestmark = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="only Linux limits another process"
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    modules = ("tests.conformance.tasks", "tests.conformance.exhausting")
    return settings.model_copy(update={"task_modules": modules})


def limit(worker: WorkerProcess, descriptors: int | None) -> None:
    """What is open stays open."""
    _, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (descriptors or hard, hard))


async def test_a_lack_that_lasts_is_named_once_and_ends_the_process_and_burns_no_try(
    client: TaskClient, start_worker: Start, effects: Effects, redis: RedisClient
) -> None:
    worker = start_worker(PATIENCE="3.5", WORKER_CONCURRENCY="14")
    await asyncio.to_thread(worker.wait_for_log, READY)
    limit(worker, DESCRIPTORS)
    running = await client.enqueue(exhausting.leak)
    await wait_until_running(client, running.id)
    handles = [await client.enqueue(tasks.hold, what=str(n), seconds=0.2) for n in range(12)]
    await asyncio.to_thread(worker.wait_for_log, SHORT)
    assert await asyncio.to_thread(worker.wait) == 1
    assert worker.log.count("claims nothing more until that is over") == 1
    assert worker.log.count("is away") == worker.log.count("is back") == 0
    assert worker.log.count(f"handed back: {SHORT}") <= len(handles)
    assert worker.lines[-1].startswith(f"worker: {SHORT}, for more than 3.5 s: ends"), worker.log
    assert "Traceback" not in worker.log
    view = await client.get(running.id)
    assert view is not None
    assert (view.attempt, view.tries) == (1, 0), "its lease was kept"
    start_worker()
    for n, handle in enumerate(handles):
        await handle.result(20)
        view = await client.get(handle.id)
        assert view is not None
        assert view.tries == 0, n
    assert await effects() == sorted(str(n) for n in range(12))


async def test_a_lack_that_passes_is_over_by_itself(
    client: TaskClient, start_worker: Start, effects: Effects
) -> None:
    worker = start_worker(PATIENCE="30", WORKER_CONCURRENCY="14")
    await asyncio.to_thread(worker.wait_for_log, READY)
    limit(worker, DESCRIPTORS)
    leak = await client.enqueue(exhausting.leak)
    await wait_until_running(client, leak.id)
    handles = [await client.enqueue(tasks.hold, what=str(n), seconds=0.2) for n in range(12)]
    await asyncio.to_thread(worker.wait_for_log, SHORT)
    limit(worker, None)
    for handle in handles:
        await handle.result(30)
    assert await effects() == sorted(str(n) for n in range(12))
    await asyncio.to_thread(worker.wait_for_log, "what this process was out of is there again")
    assert worker.log.count("is away") == worker.log.count("is back") == 0
    assert await asyncio.to_thread(worker.terminate) == 0, worker.log


def start_limited(settings: Settings, kind: str, ulimit: str) -> LoggedProcess:
    command = [sys.executable, "-m", "uow", "run", *WORKERS[kind]]
    shell = ["sh", "-c", f'ulimit {ulimit}; exec "$@"', "sh"]
    return run_logged([*shell, *command], environment_of(settings))


async def test_a_soft_limit_that_is_too_low_is_raised_at_the_start(
    client: TaskClient, settings: Settings, worker_kind: str
) -> None:
    worker = start_limited(settings, worker_kind, "-Sn 60")
    try:
        handle = await client.enqueue(exhausting.limit)
        assert await handle.result(20) == 64 + (5 + 4) + 2 * 5
    finally:
        worker.kill9()


async def test_a_hard_limit_that_is_too_low_is_refused_with_both_numbers(
    settings: Settings, worker_kind: str
) -> None:
    worker = start_limited(settings, worker_kind, "-n 60")
    assert await asyncio.to_thread(worker.wait) == 1
    assert len(worker.lines) == 1, worker.log
    assert "RLIMIT_NOFILE=60 is too low: 5 tasks at once" in worker.log
    assert "may need 83 file descriptors" in worker.log
    worker.kill9()
