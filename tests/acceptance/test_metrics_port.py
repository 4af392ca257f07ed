"""`/metrics` of real workers: of one, of several under one port, and what does not fit."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.samples import Sample

from tests.acceptance.conftest import wait_until
from tests.processes import WorkerProcess, run_command
from uow import Settings, TaskClient
from uow.process import exposition

pytestmark = pytest.mark.timeout(120)

FULL = {"Accept": "application/openmetrics-text; version=1.0.0"}

Start = Callable[..., WorkerProcess]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With an app of the test's own: others are at work on this host."""
    return settings.model_copy(update={"app": f"test-{uuid4().hex[:8]}"})


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Start `worker run`."""
    started: list[WorkerProcess] = []

    def run(*arguments: str, **environment: str) -> WorkerProcess:
        fresh = "--processes" in arguments  # which starts what its own command line says
        worker = WorkerProcess(settings, arguments, environment, kind=(), fresh=fresh)
        started.append(worker)
        return worker

    yield run
    for process in started:
        process.kill9()


@pytest.fixture
def port() -> int:
    with socket.create_server(("", 0)) as listener:
        return int(listener.getsockname()[1])


async def scrape(port: int) -> list[Sample]:
    read: Any = parser.text_string_to_metric_families
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics", headers=FULL)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == exposition.OPENMETRICS
    return [one for family in read(answer.text) for one in family.samples]


async def logged(process: WorkerProcess, part: str, count: int = 1) -> list[str]:
    return await asyncio.to_thread(process.wait_for_logs, part, count, 60)


async def run_effects(client: TaskClient, count: int) -> None:
    handles = [await client.enqueue("accept.effect", what=str(one)) for one in range(count)]
    for handle in handles:
        await handle.result(timeout=30)


@pytest.mark.parametrize("engine", [(), ("--stock",)], ids=["fast", "stock"])
async def test_a_worker_answers_on_its_port(
    start: Start, client: TaskClient, port: int, engine: tuple[str, ...]
) -> None:
    worker = start(*engine, WORKER_METRICS_PORT=str(port))
    await logged(worker, "uow.host: ready")
    await run_effects(client, 3)

    async def counted() -> bool:
        total = [
            one for one in await scrape(port) if one.name == "worker_tasks_total" and one.value
        ]
        return [(one.labels["task"], one.value) for one in total] == [("accept.effect", 3)]

    await wait_until(counted)
    assert not any("process" in one.labels for one in await scrape(port))
    assert await asyncio.to_thread(worker.terminate) == 0


async def test_it_answers_while_a_task_blocks_the_event_loop_and_says_so(
    start: Start, client: TaskClient, port: int
) -> None:
    worker = start(WORKER_METRICS_PORT=str(port))
    await logged(worker, "uow.host: ready")
    await client.enqueue("accept.block", seconds=3.0)
    await logged(worker, "the event loop is blocked by")

    async def lag() -> float:
        return next(
            one.value for one in await scrape(port) if one.name == "worker_loop_lag_seconds"
        )

    assert await lag() > 0.5
    await logged(worker, "the event loop turns again")

    async def is_still_shown() -> bool:
        return await lag() > 2

    await wait_until(is_still_shown)


async def test_several_processes_answer_on_one_port_also_when_one_is_killed(
    start: Start, client: TaskClient, port: int
) -> None:
    worker = start("--processes", "2", WORKER_METRICS_PORT=str(port))
    await logged(worker, "uow.host: ready", 2)

    async def processes() -> set[str]:
        found = [one for one in await scrape(port) if one.name == "worker_build_info"]
        return {one.labels["process"] for one in found}

    async def is_whole() -> bool:
        return await processes() == {"0", "1"}

    await wait_until(is_whole)
    await run_effects(client, 6)

    async def all_counted() -> bool:
        samples = await scrape(port)
        return sum(one.value for one in samples if one.name == "worker_tasks_total") == 6

    await wait_until(all_counted)
    (line,) = [line for line in worker.lines if "process 0 started: pid" in line]
    os.kill(int(line.rsplit(" ", 1)[1]), signal.SIGKILL)
    await logged(worker, "was ended by SIGKILL")
    assert await processes() <= {"0", "1"}  # it answers meanwhile
    await wait_until(is_whole, 40)


async def test_only_the_leader_tells_of_the_fleet(start: Start, port: int) -> None:
    worker = start("--processes", "2", WORKER_METRICS_PORT=str(port))
    await logged(worker, "uow.host: ready", 2)

    async def told_once() -> bool:
        lags = [one for one in await scrape(port) if one.name == "worker_relay_lag_seconds"]
        return len(lags) == 1

    await wait_until(told_once)


async def test_one_port_may_serve_health_and_metrics(start: Start, port: int) -> None:
    worker = start(WORKER_METRICS_PORT=str(port), WORKER_HEALTH_PORT=str(port))
    await logged(worker, "uow.host: ready")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/metrics")).status_code == 200
        assert (await http.get("/process")).status_code == 404


async def test_json_lines_say_what_task_they_are_about(start: Start, client: TaskClient) -> None:
    worker = start(WORKER_LOG_FORMAT="json")
    await logged(worker, '"message": "ready: ')
    handle = await client.enqueue("accept.effect", what="one")
    await logged(worker, "\\u2190")
    lines = [json.loads(line) for line in worker.lines]
    assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    (ended,) = [one for one in lines if "←" in one["message"]]
    assert (ended["task_id"], ended["task"]) == (str(handle.id), "accept.effect")


@pytest.mark.parametrize("arguments", [(), ("--processes", "2")], ids=["one", "several"])
async def test_a_port_that_is_taken_ends_the_start_in_one_line(
    settings: Settings, arguments: tuple[str, ...]
) -> None:
    with socket.create_server(("", 0)) as listener:
        taken = str(listener.getsockname()[1])
        done = await run_command(settings, "run", *arguments, WORKER_METRICS_PORT=taken)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"worker: WORKER_METRICS_PORT={taken}: Address")
