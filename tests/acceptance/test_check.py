"""`worker check` and the health port, with real workers that are stopped, killed, blocked."""

import asyncio
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.acceptance import tasks
from tests.acceptance.conftest import wait_until
from tests.processes import ROOT, LoggedProcess, WorkerProcess, environment_of, run_command
from uow import Settings, TaskClient
from uow.broker.redis import RedisClient
from uow.embedded import EmbeddedRedis
from uow.process import roster

pytestmark = pytest.mark.timeout(120)

READY = "uow.host: ready"

Start = Callable[..., LoggedProcess]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With an app of the test's own: others are at work on this host."""
    return settings.model_copy(update={"app": f"test-{uuid4().hex[:8]}"})


@pytest.fixture(params=["fast", "stock"])
def start(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start `worker run` on either engine."""
    started: list[WorkerProcess] = []
    kind = ("--stock",) if request.param == "stock" else ()

    def run(*arguments: str, **environment: str) -> WorkerProcess:
        fresh = "--processes" in arguments  # which starts what its own command line says
        worker = WorkerProcess(settings, arguments, environment, kind=kind, fresh=fresh)
        started.append(worker)
        return started[-1]

    yield run
    for process in started:
        process.kill9()


async def check(settings: Settings, *arguments: str) -> tuple[int, str]:
    done = await run_command(settings, "check", *arguments)
    return done.returncode, done.stdout + done.stderr


async def is_ready(settings: Settings) -> None:
    """Return when it says so: its first heartbeat comes in a moment."""

    async def ready() -> bool:
        return (await check(settings))[1].endswith("is well\n")

    await wait_until(ready)


async def logged(process: LoggedProcess, part: str, count: int = 1) -> list[str]:
    return await asyncio.to_thread(process.wait_for_logs, part, count, 60)


def entries_of(settings: Settings) -> list[roster.Entry]:
    app = roster.checksum(settings.app)
    return [entry for entry in roster.entries() if entry.app == app]


async def test_a_worker_that_works_is_well(settings: Settings, start: Start) -> None:
    worker = start()
    await logged(worker, READY)
    await is_ready(settings)
    said = f"pid {worker.pid} (worker of {settings.app}, arq:queue) is well\n"
    assert await check(settings) == (0, said)
    assert await check(settings, str(worker.pid), "--queue", "arq:queue") == (0, said)
    code, text = await check(settings, "--json")
    (told,) = json.loads(text)
    assert code == 0
    assert (told["pid"], told["state"], told["unwell"], told["unready"]) == (
        worker.pid, "serving", None, None,
    )  # fmt: skip
    assert (await check(settings, "--queue", "other"))[0] == 1
    assert await check(settings, "1") == (1, "worker: pid 1 is no worker process of yours\n")
    await asyncio.to_thread(worker.terminate)
    assert entries_of(settings) == []


async def test_where_there_is_none_that_is_said(settings: Settings) -> None:
    told = (
        f"worker: there is no worker process with WORKER_APP={settings.app} of yours on this host"
    )
    assert await check(settings) == (1, f"{told}\n")


async def test_a_stopped_process_is_found_unwell_and_well_again(
    settings: Settings, start: Start
) -> None:
    worker = start()
    await logged(worker, READY)
    os.kill(worker.pid, signal.SIGSTOP)
    code, said = await check(settings)
    assert code == 1
    assert f"pid {worker.pid} is unwell: it does not answer" in said
    os.kill(worker.pid, signal.SIGCONT)

    async def is_well() -> bool:
        return (await check(settings))[0] == 0

    await wait_until(is_well)


async def test_what_a_killed_process_has_left_is_cleaned_away(
    settings: Settings, start: Start
) -> None:
    worker = start()
    await logged(worker, READY)
    worker.kill9()
    assert len(entries_of(settings)) == 1
    code, said = await check(settings)
    assert code == 1
    assert "there is no worker process" in said
    assert entries_of(settings) == []


async def test_one_that_is_starting_is_not_well_yet(settings: Settings, start: Start) -> None:
    worker = start(WORKER_REDIS_URL="redis://127.0.0.1:1", WORKER_CONNECT_TIMEOUT="60")
    await logged(worker, "waiting for Redis")
    code, said = await check(settings)
    assert code == 1
    assert f"pid {worker.pid} (worker of {settings.app}, arq:queue) is starting" in said
    await asyncio.to_thread(worker.terminate)
    assert "there is no worker process" in (await check(settings))[1]


async def test_a_server_that_is_away_is_told_and_is_no_illness(
    settings: Settings, start: Start
) -> None:
    with EmbeddedRedis(tcp=True) as other:
        worker = start(WORKER_REDIS_URL=other.url)
        await logged(worker, READY)
        await is_ready(settings)
        other.stop()
        code, said = await check(settings)
    assert code == 0
    assert "is well, but not ready: Redis does not answer" in said


async def test_each_of_several_processes_is_looked_at(settings: Settings, start: Start) -> None:
    workers = start("--processes", "2", WORKER_HEALTH_PORT="0")
    port = re.search(r"on port (\d+)", (await logged(workers, "listening on port"))[0])
    assert port is not None
    await logged(workers, READY, 2)
    pids = [int(line.split()[-1]) for line in await logged(workers, " started: pid ", 2)]
    code, said = await check(settings)
    assert code == 0, said
    assert sorted(int(line.split()[1]) for line in said.splitlines()) == sorted(
        [workers.pid, *pids]
    )
    assert workers.log.count("listening on port") == 1
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port[1]}") as http:
        for path in ("/health/live", "/health/ready"):
            assert ((await http.get(path)).status_code, path) == (200, path)
        os.kill(pids[1], signal.SIGSTOP)
        code, said = await check(settings)
        assert code == 1
        assert f"pid {pids[1]} is unwell" in said
        answer = await http.get("/health/live")
        assert answer.status_code == 503
        assert answer.text == f"process 1 (pid {pids[1]}): no answer\n"
        os.kill(pids[1], signal.SIGKILL)
        await logged(workers, "was ended by SIGKILL")
        code, said = await check(settings)
        assert code == 1
        assert "process 1 was ended by SIGKILL and starts again in 1 s" in said
        assert (await http.get("/health/live")).status_code == 200, "the supervisor is at work"
        answer = await http.get("/health/ready")
        assert answer.status_code == 503
        await logged(workers, READY, 3)
        assert (await check(settings))[0] == 0
        assert (await http.get("/health/ready")).text == "ok\n"
    assert await asyncio.to_thread(workers.terminate) == 0, workers.log
    assert entries_of(settings) == []


async def test_the_port_tells_what_lives_and_what_can_do_its_work(
    settings: Settings, start: Start, redis: RedisClient
) -> None:
    with EmbeddedRedis(tcp=True) as other:
        worker = start(WORKER_HEALTH_PORT="0", WORKER_REDIS_URL=other.url)
        line = (await logged(worker, "listening on port"))[0]
        port = re.search(r"on port (\d+)", line)
        assert port is not None
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port[1]}") as http:
            assert (await http.get("/health/live")).status_code == 200, "also while it starts"
            await logged(worker, READY)

            async def answers() -> bool:
                return (await http.get("/health/ready")).text == "ok\n"

            await wait_until(answers)
            assert (await http.get("/process")).status_code == 404
            other.stop()
            answer = await http.get("/health/ready")
            assert answer.status_code == 503
            assert answer.text.startswith("Redis does not answer (")
            assert answer.text.count("\n") == 1
            assert (await http.get("/health/live")).status_code == 200
            other.start()
            await wait_until(answers)


async def test_a_loop_that_is_blocked_for_too_long_does_not_live(
    settings: Settings, start: Start, client: TaskClient
) -> None:
    worker = start(WORKER_HEALTH_PORT="0", WORKER_STALL_LIMIT="0.5")
    port = re.search(r"on port (\d+)", (await logged(worker, "listening on port"))[0])
    assert port is not None
    await logged(worker, READY)
    await client.enqueue(tasks.block, seconds=3)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port[1]}") as http:

        async def is_dead() -> bool:
            answer = await http.get("/health/live")
            return answer.status_code == 503 and "event loop has been blocked" in answer.text

        await wait_until(is_dead)
        code, said = await check(settings)
        assert code == 1
        assert "is unwell: its event loop has been blocked for" in said

        async def lives() -> bool:
            return (await http.get("/health/live")).status_code == 200

        await wait_until(lives)


async def test_a_port_that_is_taken_is_told_in_one_line(settings: Settings, start: Start) -> None:
    first = start(WORKER_HEALTH_PORT="0")
    port = re.search(r"on port (\d+)", (await logged(first, "listening on port"))[0])
    assert port is not None
    second = start(WORKER_HEALTH_PORT=port[1])
    assert await asyncio.to_thread(second.wait) == 1
    assert f"WORKER_HEALTH_PORT={port[1]}: Address already in use" in second.log
    assert len(second.lines) == 1, second.log


async def test_stock_arqs_own_command_is_asked_too(settings: Settings) -> None:
    environment = environment_of(settings)
    command = [str(Path(sys.executable).with_name("arq")), "uow.main.WorkerSettings"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:

        async def is_well() -> bool:
            return (await check(settings, str(process.pid)))[0] == 0

        await wait_until(is_well, 40)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
    assert entries_of(settings) == []


def test_it_imports_neither_the_library_nor_an_application() -> None:
    code = (
        "import sys; sys.argv = ['worker', 'check', '1']\n"
        "from uow.__main__ import main\n"
        "try: main()\nexcept SystemExit as end: print(end.code, sorted("
        "{'pydantic', 'sqlalchemy', 'arq', 'redis', 'typer', 'asyncio', 'logging', 'dataclasses'}"
        " & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == "1 []\n", done.stderr


async def test_it_takes_a_moment(settings: Settings, start: Start) -> None:
    """The processor's time, which other work on this machine does not change."""
    worker = start()
    await logged(worker, READY)
    command = [str(Path(sys.executable).with_name("worker")), "check", str(worker.pid)]
    walls = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(10):
        began = time.perf_counter()
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        walls.append(time.perf_counter() - began)
        assert done.returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"worker check: median {statistics.median(walls) * 1000:.0f} ms, {spent * 100:.0f} ms CPU"
    )
    assert spent / 10 < 0.1
