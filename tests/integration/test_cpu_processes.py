"""A task function that is ``process=True``: in a child process, which can be killed."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Drain, task_worker
from tests.integration import cpu_tasks
from uow import Settings, TaskCancelled, TaskClient, TaskFailed, WorkerError
from uow.attempt.in_process import InProcesses, Origin
from uow.fast.task_worker import TaskWorker
from uow.stock.worker import BurstWorker
from uow.tasks.registry import Registry

LONG = 50
"""Seconds: a child imports what a task module imports, on a machine that may be busy."""


@pytest.fixture
def registry() -> Registry:
    return cpu_tasks.REGISTRY


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"cpu_slots": 1})


@contextlib.asynccontextmanager
async def running(settings: Settings, kind: type[TaskWorker | BurstWorker]) -> AsyncIterator[None]:
    """A worker that serves until the end of the block."""
    _, worker = task_worker(kind, settings, cpu_tasks.REGISTRY, burst=False, poll_delay=0.01)
    serving = asyncio.create_task(worker.async_run())
    try:
        yield
    finally:
        await worker.close()
        await asyncio.wait([serving])


@pytest.fixture(params=["stock", "fast"])
async def worker(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[None]:
    """One of either kind."""
    async with running(settings, {"stock": BurstWorker, "fast": TaskWorker}[request.param]):
        yield


@pytest.fixture
async def fast_worker(settings: Settings) -> AsyncIterator[None]:
    """The same under both kinds is what runs in the child."""
    async with running(settings, TaskWorker):
        yield


def exists(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def is_gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while exists(pid):
            await asyncio.sleep(0.005)


async def written(file: Path) -> int:
    """The process id in a file, as soon as it is there."""
    async with asyncio.timeout(LONG):
        while not (file.exists() and file.read_text()):
            await asyncio.sleep(0.005)
    return int(file.read_text())


async def test_arguments_and_result_go_there_and_back_in_a_child_that_is_kept(
    client: TaskClient, drain: Drain
) -> None:
    handle = await client.enqueue(cpu_tasks.add, a=1, b=[2, 3])
    rowless = await client.enqueue(cpu_tasks.rowless, n=1)
    who = cpu_tasks.who.options(headers={"tenant": "a"})
    handles = [await client.enqueue(who) for _ in range(3)]
    await drain()
    result, at = await handle.result(10)
    assert result == 6
    assert isinstance(at, datetime)
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert await rowless.result(10) == 2
    found = [await one.result(10) for one in handles]
    assert [one["id"] for one in found] == [str(one.id) for one in handles]
    assert {one["parent"] for one in found} == {os.getpid()}
    assert {(one["name"], one["attempt"], one["try"], one["stdin"]) for one in found} == {
        ("cpu.who", 1, 1, "")
    }
    assert [one["headers"] for one in found] == [{"tenant": "a"}] * 3
    (pid,) = {one["pid"] for one in found}
    assert pid != os.getpid()
    await is_gone(pid)  # with the worker


WHY = {
    "db": r'SessionError: ctx\["db"\]: a task function that is process=True has no session',
    "redis": "KeyError: .*redis: is not in a child process: make a client of your own",
    "settings": "KeyError: .*settings: is not in a child process: give the function what",
    "http": "KeyError: 'http'",
}


@pytest.mark.usefixtures("fast_worker")
async def test_what_its_context_has_not_it_says_why(client: TaskClient) -> None:
    handles = {name: await client.enqueue(cpu_tasks.key, name=name) for name in WHY}
    for name, handle in handles.items():
        with pytest.raises(TaskFailed, match=WHY[name]):
            await handle.result(LONG)


@pytest.mark.usefixtures("fast_worker")
async def test_its_errors_are_what_they_are(client: TaskClient) -> None:
    hows = ("final", "cancel", "retry", "not pickled", "exit", "wrong result")
    handles = {how: await client.enqueue(cpu_tasks.fail, how=how) for how in hows}
    with pytest.raises(TaskFailed, match="ZeroDivisionError: division by zero") as caught:
        await handles["final"].result(LONG)
    assert "In the child process" in caught.value.traceback
    assert "cpu_tasks.py" in caught.value.traceback
    view = await client.get(handles["final"].id)
    assert view is not None
    assert view.tries == 1  # it is one of final=(…)
    assert await handles["retry"].result(LONG) == "done"
    with pytest.raises(TaskCancelled):
        await handles["cancel"].result(LONG)
    with pytest.raises(TaskFailed, match=r"NotPickled: strange \(7\)") as caught:
        await handles["not pickled"].result(LONG)
    assert "cpu_tasks.py" in caught.value.traceback
    with pytest.raises(TaskFailed, match=r"called sys.exit\(3\)"):
        await handles["exit"].result(LONG)
    with pytest.raises(TaskFailed, match="InvalidResult: cpu.raise: the result"):
        await handles["wrong result"].result(LONG)


@pytest.mark.usefixtures("worker")
async def test_its_death_is_a_failure_of_that_attempt_alone(client: TaskClient) -> None:
    said = {"killed": "was ended by SIGKILL", "exits": "has ended with exit code 7"}
    handles = {how: await client.enqueue(cpu_tasks.die, how=how) for how in said}
    beside = await client.enqueue(cpu_tasks.neighbour)
    assert await beside.result(LONG) == os.getpid()
    for how, handle in handles.items():
        assert await handle.result(LONG) != os.getpid()
        view = await client.get(handle.id)
        assert view is not None
        assert (view.attempt, view.tries) == (2, 1)
        assert "ProcessDied: the child process (pid " in str(view.errors)
        assert said[how] in str(view.errors)


@pytest.mark.usefixtures("worker")
async def test_it_is_killed_at_its_timeout(client: TaskClient, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    handle = await client.enqueue(cpu_tasks.spin, says=str(file))
    pid = await written(file)
    began = time.monotonic()
    await is_gone(pid)
    assert time.monotonic() - began < 0.5 + 5  # and not never: it heeds nothing else
    with pytest.raises(TaskFailed, match=r"TaskTimeout: cpu.spin ran longer than 0.5 s"):
        await handle.result(LONG)


@pytest.mark.usefixtures("worker")
async def test_it_is_killed_when_its_task_is_cancelled_and_another_runs_after_it(
    client: TaskClient, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    handle = await client.enqueue(cpu_tasks.sleep, says=str(file))
    pid = await written(file)
    began = time.monotonic()
    assert await handle.cancel()
    await is_gone(pid)
    assert time.monotonic() - began < 5  # of its sixty
    with pytest.raises(TaskCancelled):
        await handle.result(10)
    after = await client.enqueue(cpu_tasks.rowless, n=1)
    assert await after.result(LONG) == 2


@pytest.mark.usefixtures("fast_worker")
async def test_one_that_waits_for_a_child_in_vain_burns_no_try(
    client: TaskClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = await client.enqueue(cpu_tasks.sleep, says=str(tmp_path / "pid"))
    await written(tmp_path / "pid")
    second = await client.enqueue(cpu_tasks.spin, says=str(tmp_path / "never"))
    async with asyncio.timeout(LONG):
        while "no child process came free" not in caplog.text:
            await asyncio.sleep(0.01)
    view = await client.get(second.id)
    assert view is not None
    assert view.tries == 0
    assert await second.cancel()
    assert await first.cancel()
    assert not (tmp_path / "never").exists()


@pytest.mark.usefixtures("fast_worker")
async def test_an_idle_child_that_somebody_ends_is_replaced(client: TaskClient) -> None:
    first = await (await client.enqueue(cpu_tasks.who)).result(LONG)
    os.kill(first["pid"], 9)
    second = await (await client.enqueue(cpu_tasks.who)).result(LONG)
    assert second["pid"] != first["pid"]


async def test_a_module_that_ends_the_child_when_it_is_imported_does_not_end_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "exits.py").write_text("raise SystemExit(3)")
    children, function = InProcesses(1), cpu_tasks.REGISTRY["cpu.who"]
    try:
        for _ in range(2):
            with pytest.raises(WorkerError, match=r"cannot import exits: SystemExit\(3\)"):
                await children._ready(function, Origin("exits", "f", "f", None))
    finally:
        children.close()
