"""A worker inside somebody else's process: it drains, hands back, and leaves nothing behind."""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop
from pydantic import SecretStr
from sqlalchemy import text

import uow
from tests.conformance.conftest import wait_until
from uow import Database, Registry, SchemaError, ServerUnreachable, Settings, TaskClient
from uow.errors import WorkerDied
from uow.inside import RunningWorker
from uow.process.signals import MARGIN_SECONDS
from uow.tasks.handle import TaskHandle

CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%uow %'")


class Gate:
    """Where a task waits, and says that it does."""

    def __init__(self) -> None:
        self.inside, self.opened = asyncio.Event(), asyncio.Event()
        self.tries: list[int] = []


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"task_modules": (), "shutdown_grace": 5.0})


@pytest.fixture
def gate(registry: Registry) -> Gate:
    return give_tasks(registry)


def give_tasks(registry: Registry) -> Gate:
    gate = Gate()

    @uow.task("double", registry=registry)
    async def double(ctx: uow.TaskContext, number: int) -> int:
        async with ctx["db"].get_session() as session:
            return int(await session.scalar(text("SELECT 2 * :n"), {"n": number}) or 0)

    @uow.task("pass", registry=registry, max_tries=1)
    async def pass_through(ctx: uow.TaskContext) -> str:
        gate.tries.append(ctx["task"].tries)
        gate.inside.set()
        await gate.opened.wait()
        return "through"

    return gate


async def passing(worker: RunningWorker, gate: Gate) -> TaskHandle[Any]:
    """A task that is at the gate."""
    handle = await worker.client.enqueue("pass")
    await asyncio.wait_for(gate.inside.wait(), 10)
    return handle


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_frozen() -> Iterator[None]:
    """So that what a worker would freeze can be counted."""
    gc.unfreeze()
    yield
    gc.freeze()


def held_by_this_process() -> tuple[Any, ...]:
    return (
        [signal.getsignal(number) for number in range(1, 32)],
        {thread.name for thread in threading.enumerate()},
        [logging.getLogger(name).handlers[:] for name in ("", "uow", "arq")],
        [logging.getLogger(name).level for name in ("", "uow", "arq")],
        resource.getrlimit(resource.RLIMIT_NOFILE),
        (gc.get_freeze_count(), gc.get_threshold()),
    )


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_runs_tasks_and_leaves_the_process_as_it_was(
    settings: Settings,
    registry: Registry,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raise_limits(*_: int) -> None:
        raise AssertionError

    monkeypatch.setattr("uow.exhaustion.make_room", raise_limits)

    async def use() -> None:
        give_tasks(registry)
        redis = uow.broker.redis.connect(settings.redis_url.get_secret_value())
        async with Database.from_settings(settings.require_database()) as db:
            clients, before = len(await redis.client_list()), held_by_this_process()
            tasks = asyncio.all_tasks()
            async with uow.running(settings, registry=registry) as worker:
                handle = await worker.client.enqueue("double", number=21)
                assert await handle.result(timeout=10) == 42
                assert held_by_this_process()[0] == before[0]
            assert held_by_this_process() == before
            assert asyncio.all_tasks() == tasks
            assert (await db.execute_once(CONNECTIONS, {})).scalar_one() == 0
            assert len(await redis.client_list()) == clients
        await redis.aclose()

    loop = new_loop()
    theirs = signal.signal(signal.SIGTERM, lambda *_: None)  # as a web server has one
    try:
        loop.run_until_complete(use())
    finally:
        loop.close()
        signal.signal(signal.SIGTERM, theirs)


async def test_leaving_waits_for_what_runs(
    settings: Settings, registry: Registry, gate: Gate, client: TaskClient
) -> None:
    async with uow.running(settings, registry=registry) as worker:
        handle = await passing(worker, gate)
        asyncio.get_running_loop().call_later(0.1, gate.opened.set)
    assert await client.handle(handle.id).status() == "succeeded"


async def test_what_does_not_end_within_the_grace_is_handed_back_and_costs_no_try(
    settings: Settings, registry: Registry, gate: Gate, client: TaskClient
) -> None:
    brief = settings.model_copy(update={"shutdown_grace": 0.2})
    async with uow.running(brief, registry=registry) as worker:
        handle = await passing(worker, gate)
    assert await client.handle(handle.id).status() == "queued"
    gate.opened.set()
    async with uow.running(brief, registry=registry) as worker:
        assert await worker.client.handle(handle.id).result(timeout=10) == "through"
    assert gate.tries == [0, 0]


async def test_a_block_that_is_cancelled_drains_too(
    settings: Settings, registry: Registry, gate: Gate, client: TaskClient
) -> None:
    handles = []

    async def serve() -> None:
        async with uow.running(settings, registry=registry) as worker:
            handles.append(await passing(worker, gate))
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    while not handles:
        await asyncio.sleep(0)
    serving.cancel()
    asyncio.get_running_loop().call_later(0.1, gate.opened.set)
    await asyncio.wait([serving])
    assert serving.cancelled()
    assert await client.handle(handles[0].id).status() == "succeeded"


async def test_a_second_cancellation_hands_back_at_once(
    settings: Settings, registry: Registry, gate: Gate, client: TaskClient
) -> None:
    long = settings.model_copy(update={"shutdown_grace": 3600.0})
    handles = []

    async def serve() -> None:
        async with uow.running(long, registry=registry) as worker:
            handles.append(await passing(worker, gate))

    serving = asyncio.create_task(serve())
    while not handles:
        await asyncio.sleep(0)
    await asyncio.sleep(0)  # it is leaving by now
    serving.cancel()
    await asyncio.wait_for(asyncio.wait([serving]), 10)
    assert serving.cancelled()
    assert await client.handle(handles[0].id).status() == "queued"


async def test_an_exception_of_the_block_is_what_comes_out_of_it(
    settings: Settings, registry: Registry, gate: Gate, client: TaskClient
) -> None:
    gate.opened.set()
    with pytest.raises(ZeroDivisionError):
        async with uow.running(settings, registry=registry) as worker:
            handle = await passing(worker, gate)
            raise ZeroDivisionError
    assert await client.handle(handle.id).status() == "succeeded"


async def test_two_at_once_share_a_queue(
    settings: Settings, registry: Registry, gate: Gate, db: Database
) -> None:
    one = settings.model_copy(update={"concurrency": 1, "shutdown_grace": 0.0})
    async with (
        uow.running(one, registry=registry) as worker,
        uow.running(one, registry=registry),
    ):
        await passing(worker, gate)
        assert await (await worker.client.enqueue("double", number=1)).result(timeout=10) == 2
        found = await db.execute_once(text("SELECT count(*) FROM worker_process"), {})
        assert found.scalar_one() == 2


async def test_two_at_once_have_registries_and_queues_of_their_own(settings: Settings) -> None:
    names = ("first", "second")
    async with (
        uow.running(_named(settings, names[0]), registry=_answering(names[0])) as first,
        uow.running(_named(settings, names[1]), registry=_answering(names[1])) as second,
    ):
        handles = [await worker.client.enqueue("who") for worker in (first, second)]
        assert [await handle.result(timeout=10) for handle in handles] == [*names]


def _named(settings: Settings, name: str) -> Settings:
    return settings.model_copy(update={"queue": name, "app": name})


def _answering(answer: str) -> Registry:
    registry = Registry()

    @uow.task("who", registry=registry)
    async def who(ctx: uow.TaskContext) -> str:
        return answer

    return registry


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    tasks, before = asyncio.all_tasks(), held_by_this_process()
    yield
    assert asyncio.all_tasks() <= tasks
    assert held_by_this_process() == before


@pytest.mark.usefixtures("gate")
async def test_a_start_without_tables_says_so_and_leaves_nothing(
    settings: Settings, registry: Registry, empty_database_url: str
) -> None:
    empty = settings.model_copy(update={"database_url": SecretStr(empty_database_url)})
    with leaving_nothing(), pytest.raises(SchemaError, match="worker migrate"):
        async with uow.running(empty, registry=registry):
            raise AssertionError


@pytest.mark.usefixtures("gate")
async def test_a_start_without_a_server_says_so_and_leaves_nothing(
    settings: Settings, registry: Registry
) -> None:
    away = {"redis_url": SecretStr("redis://127.0.0.1:1"), "connect_timeout": 0.3}
    with leaving_nothing(), pytest.raises(ServerUnreachable, match="WORKER_REDIS_URL"):
        async with uow.running(settings.model_copy(update=away), registry=registry):
            raise AssertionError


@pytest.mark.usefixtures("gate")
async def test_a_start_that_fails_late_closes_what_it_has_opened(
    settings: Settings, registry: Registry, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("uow.host.start_vitals", fail)
    with leaving_nothing(), pytest.raises(ZeroDivisionError):
        async with uow.running(settings, registry=registry):
            raise AssertionError
    assert (await db.execute_once(CONNECTIONS, {})).scalar_one() == 0


@pytest.mark.usefixtures("gate")
async def test_a_start_that_is_cancelled_closes_what_it_has_opened(
    settings: Settings, registry: Registry, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = asyncio.Event()

    async def hang(*_: object) -> None:
        hangs.set()
        await asyncio.Event().wait()

    async def serve() -> None:
        async with uow.running(settings, registry=registry):
            raise AssertionError

    monkeypatch.setattr("uow.host.start_vitals", hang)
    with leaving_nothing():
        starting = asyncio.create_task(serve())
        await asyncio.wait_for(hangs.wait(), 10)
        starting.cancel()
        await asyncio.wait([starting])
    assert starting.cancelled()
    assert (await db.execute_once(CONNECTIONS, {})).scalar_one() == 0


async def test_a_service_that_dies_ends_the_worker_and_not_the_process(
    settings: Settings, registry: Registry, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        with pytest.raises(WorkerDied, match="division"):
            async with uow.running(settings, registry=registry) as worker:
                assert worker.cause is None
                worker._process.services.relay.passing = ()
                worker._process.services.relay.run_once = _fail  # type: ignore[method-assign]
                worker._process.services.relay.wake()
                await wait_until(lambda: _has_ended(worker))
                assert isinstance(worker.cause, ZeroDivisionError)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == []
    assert "the process goes on without it" in caplog.text


async def _fail() -> int:
    raise ZeroDivisionError("division by zero")


async def _has_ended(worker: RunningWorker) -> bool:
    return worker._life.done()


async def test_a_task_that_cancels_what_is_not_its_own_ends_the_worker_alone(
    settings: Settings, registry: Registry
) -> None:
    mine = asyncio.current_task()

    @uow.task("foolish", registry=registry)
    async def foolish(ctx: uow.TaskContext) -> None:
        for task in asyncio.all_tasks() - {mine, asyncio.current_task()}:
            task.cancel()

    with pytest.raises(WorkerDied, match="cancelled"):
        async with uow.running(settings, registry=registry) as worker:
            await worker.client.enqueue("foolish")
            await wait_until(lambda: _has_ended(worker))


async def test_a_task_that_ignores_its_cancellation_does_not_hold_the_block(
    settings: Settings, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    inside, over = asyncio.Event(), asyncio.Event()

    @uow.task("stubborn", registry=registry)
    async def stubborn(ctx: uow.TaskContext) -> None:
        inside.set()
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    brief = settings.model_copy(update={"shutdown_grace": 0.1})
    before = asyncio.all_tasks()
    async with uow.running(brief, registry=registry) as worker:
        await worker.client.enqueue("stubborn")
        await asyncio.wait_for(inside.wait(), 10)
        left_at = time.monotonic()
    assert time.monotonic() - left_at < 6
    assert "ignore that they are cancelled" in caplog.text
    names = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not [name for name in names if name.startswith("uow.")], "all but the task is closed"
    over.set()
    await wait_until(lambda: _are_gone(before))


async def _are_gone(before: set["asyncio.Task[Any]"]) -> bool:
    return asyncio.all_tasks() <= before


async def test_a_loop_that_is_blocked_beyond_the_stall_limit_goes_on_afterwards(
    settings: Settings, registry: Registry, gate: Gate
) -> None:
    nervous = settings.model_copy(update={"stall_limit": 0.3, "lease_seconds": 1.0})
    async with uow.running(nervous, registry=registry) as worker:
        time.sleep(2.0)
        assert await (await worker.client.enqueue("double", number=1)).result(timeout=10) == 2
        assert worker.cause is None


async def test_nothing_of_the_callers_context_is_in_that_of_a_task(
    settings: Settings, registry: Registry
) -> None:
    from contextvars import ContextVar

    request: ContextVar[str] = ContextVar("request", default="none")

    @uow.task("context", registry=registry)
    async def context(ctx: uow.TaskContext) -> str:
        return request.get()

    request.set("the first request")
    async with uow.running(settings, registry=registry) as worker:
        assert await (await worker.client.enqueue("context")).result(timeout=10) == "none"


async def test_an_app_says_what_is_run_and_with_which_settings(
    settings: Settings, registry: Registry, gate: Gate
) -> None:
    app = uow.App(settings=settings, modules=["tests.conformance.tasks"])
    async with uow.running(app=app, registry=registry) as worker:
        assert await (await worker.client.enqueue("double", number=1)).result(timeout=10) == 2
        assert await worker.unready() is None
    assert await worker.unready() == "it is stopping"


async def test_a_lifespan_has_what_is_left_of_the_grace_to_be_left(
    settings: Settings, registry: Registry, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[bool] = []

    @uow.lifespan(registry=registry)
    async def needs_a_moment(ctx: uow.ProcessContext) -> AsyncIterator[None]:
        yield
        await asyncio.sleep(MARGIN_SECONDS + 0.5)
        left.append(True)

    async with uow.running(settings.model_copy(update={"shutdown_grace": 20.0}), registry=registry):
        pass
    assert left
    assert "not done" not in caplog.text
