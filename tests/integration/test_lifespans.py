"""What lives as long as a worker process: entered before the first claim, left after the last."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import pytest

import uow
from tests.conftest import Drain, task_worker
from uow import (
    LifespanFailed,
    ProcessContext,
    Settings,
    TaskClient,
    TaskContext,
    WorkerDied,
    lifespan,
    task,
)
from uow.db import fleet
from uow.fast.task_worker import TaskWorker
from uow.services import lifespans as lifespans_module
from uow.services.departure import Departure
from uow.stock.worker import BurstWorker
from uow.tasks.registry import Registry

KINDS: dict[str, Any] = {"atomic": {}, "separate": {"atomic": False}, "rowless": {"durable": False}}

token: ContextVar[str] = ContextVar("token")


class Ctx(TaskContext):
    http: str


Start = Callable[[], Any]


@pytest.fixture(params=[TaskWorker, BurstWorker])
def start(request: pytest.FixtureRequest, settings: Settings, registry: Registry) -> Start:
    """Start a worker and stop it; raises what its start has raised."""

    async def run() -> None:
        @task("idle", registry=registry)
        async def idle(ctx: TaskContext) -> None: ...

        _, worker = task_worker(request.param, settings, registry)
        try:
            await worker.async_run()
        finally:
            await worker.close()

    return run


@pytest.mark.parametrize("kind", KINDS)
async def test_what_it_yields_is_in_the_ctx_of_each_attempt(
    client: TaskClient, registry: Registry, drain: Drain, kind: str
) -> None:
    seen: list[str] = []

    @lifespan(registry=registry)
    async def resources(ctx: ProcessContext) -> AsyncIterator[dict[str, object]]:
        assert {"db", "redis", "settings"} <= {*ctx}
        seen.append("entered")
        yield {"http": "a client"}
        seen.append("left")

    @lifespan(registry=registry)
    async def nothing(ctx: ProcessContext) -> AsyncIterator[None]:
        seen.append(f"second, after {ctx['http']}")
        yield
        seen.append("second left")

    @task("use", max_tries=1, registry=registry, **KINDS[kind])
    async def use(ctx: Ctx) -> str:
        seen.append("used")
        return ctx["http"]

    handle = await client.enqueue(use)
    await drain()
    assert await handle.result(5) == "a client"
    assert seen == ["entered", "second, after a client", "used", "second left", "left"]


async def test_it_is_left_in_the_asyncio_task_that_has_entered_it(
    registry: Registry, start: Start
) -> None:
    left: list[bool] = []

    @lifespan(registry=registry)
    async def grouped(ctx: ProcessContext) -> AsyncIterator[None]:
        before = token.set("inside")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(asyncio.Event().wait())
            yield
            waiting.cancel()
        token.reset(before)
        left.append(True)

    await start()
    assert left == [True]


async def test_the_fleet_knows_of_the_process_only_when_it_is_entered(
    registry: Registry, start: Start
) -> None:
    queues: list[object] = []

    @lifespan(registry=registry)
    async def slow(ctx: ProcessContext) -> AsyncIterator[None]:
        queues.append(await fleet.queues(ctx["db"]))
        yield

    await start()
    assert queues == [[]]


async def fails(ctx: ProcessContext) -> AsyncIterator[None]:
    if ctx:
        raise OSError("no route")
    yield


async def exits(ctx: ProcessContext) -> AsyncIterator[None]:
    if ctx:
        raise SystemExit(3)
    yield


async def hangs(ctx: ProcessContext) -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


async def yields_nothing(ctx: ProcessContext) -> AsyncIterator[None]:
    if not ctx:
        yield


async def yields_a_list(ctx: ProcessContext) -> AsyncIterator[Any]:
    yield ["http"]


async def yields_no_text(ctx: ProcessContext) -> AsyncIterator[Any]:
    yield {1: None}


async def yields_ours(ctx: ProcessContext) -> AsyncIterator[Any]:
    yield {"db": None}


async def yields_anothers(ctx: ProcessContext) -> AsyncIterator[Any]:
    yield {"first": None}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (fails, r"fails \(.*:\d+\) has failed: OSError: no route \(.*test_lifespans.py:\d+\)$"),
        (exits, "exits .* has failed: SystemExit: 3"),
        (hangs, r"hangs .* was not entered within 0.2 s \(WORKER_CONNECT_TIMEOUT\)$"),
        (yields_nothing, "yields_nothing .* has not yielded"),
        (yields_a_list, ".* yields list, and not a dict"),
        (yields_no_text, ".* yields the key 1, which is no text"),
        (yields_ours, ".* yields 'db', which is a key of the worker's own"),
        (yields_anothers, ".* yields 'first', which another lifespan has yielded"),
    ],
)  # fmt: skip
async def test_one_that_cannot_be_entered_ends_the_start_with_its_place(
    registry: Registry, settings: Settings, start: Start, second: Any, said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    left: list[str] = []

    @lifespan(registry=registry)
    async def first(ctx: ProcessContext) -> AsyncIterator[dict[str, object]]:
        yield {"first": 1}
        left.append("first")

    lifespan(registry=registry)(second)
    entering = lifespans_module.Lifespans.__init__

    def hastily(self: Any, lifespans: Any, seconds: float, *more: Any) -> None:
        entering(self, lifespans, 0.2 if second is hangs else seconds, *more)

    monkeypatch.setattr(lifespans_module.Lifespans, "__init__", hastily)
    with pytest.raises(LifespanFailed, match=f"^lifespan {said}"):
        await start()
    assert left == ["first"]


async def test_whatever_one_does_when_it_is_left_the_others_are_left(
    registry: Registry, start: Start, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(lifespans_module, "LEAVING_SECONDS", 0.3)
    left: list[str] = []

    @lifespan(registry=registry)
    async def first(ctx: ProcessContext) -> AsyncIterator[None]:
        yield
        left.append("first")

    @lifespan(registry=registry)
    async def hangs(ctx: ProcessContext) -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    @lifespan(registry=registry)
    async def breaks(ctx: ProcessContext) -> AsyncIterator[None]:
        yield
        raise ValueError("broken")

    @lifespan(registry=registry)
    async def twice(ctx: ProcessContext) -> AsyncIterator[None]:
        yield
        yield

    await start()
    assert left == ["first"]
    assert "hangs (" in caplog.text
    assert ") was not left in time" in caplog.text
    assert ") has failed when it was left" in caplog.text
    assert ") yields twice" in caplog.text


async def test_a_worker_that_starts_again_enters_them_again(
    settings: Settings, registry: Registry, client: TaskClient
) -> None:
    seen: list[str] = []

    @lifespan(registry=registry)
    async def counted(ctx: ProcessContext) -> AsyncIterator[dict[str, object]]:
        seen.append("entered")
        yield {"http": len(seen)}
        seen.append("left")

    @task("use", registry=registry)
    async def use(ctx: TaskContext) -> None: ...

    _, worker = task_worker(TaskWorker, settings, registry)
    for _ in range(2):
        await worker.async_run()
    await worker.close()
    assert seen == ["entered", "left"] * 2


async def test_one_that_ignores_its_interruption_ends_the_start_all_the_same() -> None:
    enough = asyncio.Event()

    async def ignores(ctx: ProcessContext) -> AsyncIterator[None]:
        while not enough.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await enough.wait()
        yield

    entering, ctx = lifespans_module.Lifespans([ignores], 0.1), ProcessContext()
    async with asyncio.timeout(10):
        with pytest.raises(LifespanFailed, match=r"ignores .* was not entered within 0.1 s"):
            await entering.enter(ctx)
        await entering.leave(ctx)
    enough.set()


async def test_what_fails_in_one_while_the_worker_runs_ends_the_worker_and_not_what_runs(
    settings: Settings, registry: Registry
) -> None:
    seen: list[str] = []
    workers: list[Any] = []

    @lifespan(registry=registry)
    async def consumes(ctx: ProcessContext) -> AsyncIterator[dict[str, object]]:
        gone = asyncio.Event()

        async def consume() -> None:
            await gone.wait()
            raise OSError("the stream is gone")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(consume())
                yield {"gone": gone}
        finally:
            seen.append("left")

    @task("use", registry=registry)
    async def use(ctx: TaskContext) -> None:
        dict[str, Any](ctx)["gone"].set()
        while workers[0].cause is None:
            await asyncio.sleep(0)
        seen.append("used")

    settings = settings.model_copy(update={"shutdown_grace": 10.0})
    with pytest.raises(WorkerDied, match=r"has ended by an error \(.*consumes "):
        async with asyncio.timeout(20), uow.running(settings, registry=registry) as worker:
            workers.append(worker)
            handle = await worker.client.enqueue(use)
            await handle.result(10)
    assert seen == ["used", "left"]


@pytest.mark.parametrize("elapsed", [0.0, 10.0])
def test_a_process_that_leaves_gives_them_what_is_left_of_its_grace(
    elapsed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("uow.services.departure.time", SimpleNamespace(monotonic=lambda: now[0]))
    departure = Departure.__new__(Departure)
    departure._whole, departure.patient = 3.0, None
    assert departure.seconds_left(5.0) == 5.0
    departure.prepare()
    now[0] += elapsed
    assert departure.seconds_left(5.0) == (0.5 if elapsed else 3.0)
