"""`worker run --processes` and `--watch`, with real workers and real tasks."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.acceptance import tasks
from tests.processes import LoggedProcess, WorkerProcess, environment_of, run_logged
from uow import Settings, TaskClient

pytestmark = pytest.mark.timeout(120)  # each of these starts several workers

Effects = Callable[[], Awaitable[list[str]]]
StartWorker = Callable[..., WorkerProcess]

READY = "uow.host: ready"


async def logged(process: LoggedProcess, part: str, count: int = 1) -> list[str]:
    return await asyncio.to_thread(process.wait_for_logs, part, count, 60)


async def test_a_killed_process_is_replaced_and_its_task_runs_again(
    client: TaskClient, start_worker: StartWorker, effects: Effects
) -> None:
    workers = start_worker("--processes", "2", fresh=True, WORKER_SHUTDOWN_GRACE="20")
    first, second = [int(line.split()[-1]) for line in await logged(workers, " started: pid ", 2)]
    await logged(workers, READY, 2)
    os.kill(first, signal.SIGKILL)
    handle = await client.enqueue(tasks.effect, what="once")
    assert await handle.result(20) == "once"
    await logged(workers, f"process 0 (pid {first}) was ended by SIGKILL")
    await logged(workers, READY, 3)
    os.kill(second, 0)
    assert await asyncio.to_thread(workers.terminate) == 0, workers.log
    await asyncio.to_thread(workers.wait_for_silence)
    assert await effects() == ["once"]


async def test_a_bad_setting_is_one_line_and_exit_code_1(
    settings: Settings, start_worker: StartWorker
) -> None:
    for name, message in [("WORKER_CONCURENCY", "did you mean"), ("WORKER_DATABASE_URL", "start")]:
        workers = start_worker("--processes=2", **{name: "mysql://localhost/d"})
        assert await asyncio.to_thread(workers.wait) == 1
        assert message in workers.log
        assert len(workers.lines) == 1, workers.log


@contextmanager
def command(settings: Settings, cwd: Path, *arguments: str, **more: str) -> Iterator[LoggedProcess]:
    """The console script, in a directory of the user's."""
    script = str(Path(sys.executable).with_name("worker"))
    process = run_logged([script, "run", *arguments], environment_of(settings, **more), cwd=cwd)
    try:
        yield process
    finally:
        process.kill9()


async def test_burst_ends_with_0_when_nothing_is_due_beside_a_file_with_our_name(
    settings: Settings, client: TaskClient, effects: Effects, tmp_path: Path
) -> None:
    for number in range(4):
        await client.enqueue(tasks.effect, what=str(number))
    (tmp_path / "worker.py").write_text("raise SystemExit('the wrong worker')")
    with command(settings, tmp_path, "--burst", "--processes", "2") as workers:
        assert await asyncio.to_thread(workers.wait, 60) == 0, workers.log
    assert workers.log.count("ended with exit code 0") == 2
    assert await effects() == ["0", "1", "2", "3"]


async def test_watch_without_its_library_says_what_to_install(settings: Settings) -> None:
    code = "import sys; sys.modules['watchfiles'] = None; import uow.__main__ as m; m.main()"
    process = run_logged([sys.executable, "-c", code, "run", "--watch"], environment_of(settings))
    assert await asyncio.to_thread(process.wait) == 1
    assert process.log == "worker: watchfiles is not installed: pip install 'uow-worker[watch]'\n"
    process.kill9()


MODULE = """
from uow import TaskContext, task

@task("watched.answer", durable=False)
async def answer(ctx: TaskContext) -> int:
    return {}
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "watched_tasks.py"
    path.write_text(MODULE.format(1))
    return path


async def test_watch_runs_what_was_saved_last_and_survives_a_syntax_error(
    settings: Settings, client: TaskClient, module: Path
) -> None:
    more = {"WORKER_TASK_MODULES": module.stem, "WORKER_SHUTDOWN_GRACE": "20"}
    with command(settings, module.parent, "--watch", **more) as worker:
        await logged(worker, READY)
        module.write_text("def broken(:")
        await logged(worker, "starts again when a file changes")
        module.write_text(MODULE.format(2))
        await logged(worker, READY, 2)
        put = text("INSERT INTO task (name, args) VALUES ('watched.answer', '{}') RETURNING id")
        inserted = await client.db.execute_once(put, {})
        assert await client.handle(inserted.scalar_one()).result(20) == 2
        assert await asyncio.to_thread(worker.terminate) == 0, worker.log
