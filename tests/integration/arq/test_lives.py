"""A worker is run again, as arq's own tests do, and closed whatever has become of it."""

import asyncio
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from arq.connections import ArqRedis, RedisSettings
from arq.worker import FailedJobs, Worker, create_worker, func

from tests.integration.arq.conftest import PICKLE, Build, Context, Make, maker, stock_client
from tests.integration.arq.gate import Gate
from uow.broker.redis import arq_settings
from uow.embedded import EmbeddedRedis
from uow.errors import ServerUnreachable
from uow.fast.claimer import Claimer
from uow.fast.upkeep import Upkeep
from uow.fast.worker import FastWorker

PATIENCE = 10.0
"""Seconds in which a close is to end; it ends in some milliseconds, or when Redis is given up."""


@pytest.fixture(autouse=True)
async def _nothing_stays() -> AsyncIterator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "uow.process.heart"] == []


async def note(ctx: Context, what: Any = None) -> Any:
    return what


async def fail(ctx: Context) -> None:
    raise ValueError("mine")


async def end(worker: Worker) -> None:
    async with asyncio.timeout(PATIENCE):
        await worker.close()


# -- again -----------------------------------------------------------------------------------------


async def test_a_worker_can_be_run_again(client: ArqRedis, build: Build) -> None:
    started: list[str] = []

    async def start(ctx: Context) -> None:
        started.append("once more")

    worker = build(note, on_startup=start)
    for count in (1, 2, 3):
        job = await client.enqueue_job("note", count)
        assert job is not None
        await worker.main()
        assert await job.result(timeout=10) == count
        assert worker.jobs_complete == count
    assert len(started) == 3


async def test_a_worker_can_be_checked_again(client: ArqRedis, build: Build) -> None:
    worker = build(note, func(fail, name="fail"))
    await client.enqueue_job("note")
    assert await worker.run_check() == 1
    await client.enqueue_job("fail")
    with pytest.raises(FailedJobs, match="mine"):
        await worker.run_check()


async def test_a_worker_can_be_run_again_after_its_close(client: ArqRedis, build: Build) -> None:
    worker = build(note)
    for count in (1, 2, 3):
        await client.enqueue_job("note")
        assert await worker.run_check() == count
        await end(worker)


async def test_a_worker_that_was_given_its_connection_uses_it_again(client: ArqRedis) -> None:
    """Stock arq connects to localhost."""
    worker = FastWorker([note], redis_pool=client, burst=True, handle_signals=False)
    for count in (1, 2):
        await client.enqueue_job("note")
        assert await worker.run_check() == count
        await end(worker)


async def test_a_worker_can_be_run_again_after_one_of_its_services_has_died(
    client: ArqRedis, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(self: Upkeep) -> None:
        if self._task is not None:
            raise ZeroDivisionError

    worker = make(FastWorker, note, burst=False)
    with monkeypatch.context() as patch:
        patch.setattr(Upkeep, "run_once", die)
        with pytest.raises(ZeroDivisionError):
            await worker.main()
    worker.burst = True
    await client.enqueue_job("note")
    assert await worker.run_check() == 1
    assert worker._upkeep._task is None


async def test_nothing_is_pushed_between_two_runs(make: Make) -> None:
    worker = make(FastWorker, note)
    await worker.main()
    assert worker._upkeep._task is None


async def test_functions_may_be_given_by_position(
    client: ArqRedis, engine: type[Worker], redis_server: EmbeddedRedis
) -> None:
    settings = arq_settings(redis_server.url)
    worker = engine([note], burst=True, redis_settings=settings, handle_signals=False)
    await client.enqueue_job("note")
    assert await worker.run_check() == 1
    await end(worker)


async def test_arq_makes_one_of_a_settings_class(
    client: ArqRedis, redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WorkerSettings:
        functions = [note]  # noqa: RUF012 - as arq's documentation has it
        redis_settings = arq_settings(redis_server.url)
        burst, handle_signals, lease_seconds = True, False, 7.0

    monkeypatch.setattr("arq.worker.Worker", FastWorker)
    worker = create_worker(WorkerSettings)  # type: ignore[arg-type]
    assert isinstance(worker, FastWorker)
    assert worker.lease_seconds == 7.0
    await client.enqueue_job("note")
    assert await worker.run_check() == 1
    await end(worker)


# -- turned by hand --------------------------------------------------------------------------------


async def test_a_worker_can_be_turned_by_hand(client: ArqRedis, build: Build) -> None:
    for _ in range(4):
        await client.enqueue_job("note")
    worker = build(note, queue_read_limit=2, redis_pool=client)
    for count in (2, 4):
        await worker._poll_iteration()
        await asyncio.gather(*worker.tasks.values())
        assert worker.jobs_complete == count
    await client.enqueue_job("note")
    assert await worker.run_check() == 5


async def test_no_more_jobs_are_claimed_in_one_go_than_the_read_limit(
    client: ArqRedis, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    claim = Claimer.claim

    async def noting(self: Claimer, free: int) -> Any:
        asked.append(free)
        return await claim(self, free)

    monkeypatch.setattr(Claimer, "claim", noting)
    gate = Gate()
    for _ in range(5):
        await client.enqueue_job("enter")
    worker = make(FastWorker, gate.function, queue_read_limit=2, max_jobs=10)
    main = asyncio.ensure_future(worker.main())
    await gate.holds(5)
    gate.opened.set()
    await main
    assert asked[:3] == [2, 2, 2]
    assert max(asked) == 2


# -- close -----------------------------------------------------------------------------------------


async def no_redis(make: Callable[..., FastWorker], patch: pytest.MonkeyPatch) -> FastWorker:
    return make(redis_settings=RedisSettings(port=1, conn_retries=0, conn_timeout=1))


async def no_threads(make: Callable[..., FastWorker], patch: pytest.MonkeyPatch) -> FastWorker:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    patch.setattr(threading.Thread, "start", refuse)
    return make()


async def no_leases(make: Callable[..., FastWorker], patch: pytest.MonkeyPatch) -> FastWorker:
    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    patch.setattr("uow.fast.custody.TokenLeases", refuse)
    return make()


async def no_startup(make: Callable[..., FastWorker], patch: pytest.MonkeyPatch) -> FastWorker:
    async def refuse(ctx: Context) -> None:
        raise ConnectionRefusedError("my database")

    return make(on_startup=refuse)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (no_redis, ServerUnreachable),
        (no_threads, RuntimeError),
        (no_leases, ZeroDivisionError),
        (no_startup, ConnectionRefusedError),
    ],
)
async def test_close_ends_after_a_start_that_failed(
    client: ArqRedis,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: Callable[[Callable[..., FastWorker], pytest.MonkeyPatch], Any],
    error: type[Exception],
) -> None:
    """And is silent, so that the first error is the one to be heard."""

    async def shut_down(ctx: Context) -> None:
        await ctx["never opened"].aclose()

    def build(**options: Any) -> FastWorker:
        pool = {} if "redis_settings" in options else {"redis_pool": client}
        options = {"on_shutdown": shut_down, "handle_signals": False, **PICKLE, **pool, **options}
        return FastWorker([note], burst=True, **options)

    with monkeypatch.context() as patch:
        worker = await how(build, patch)
        with pytest.raises(error):
            await worker.main()
        await end(worker)
    said = [
        record for record in caplog.records if "closing what there was has, too" in record.message
    ]
    assert len(said) == (how is not no_redis)
    if how is not no_redis:
        worker.on_startup = worker.on_shutdown = None
        await client.enqueue_job("note")
        assert await worker.run_check() == 1
        await end(worker)


async def test_whatever_the_close_raises_the_error_of_the_start_is_the_one_that_run_raises(
    client: ArqRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(ctx: Context) -> None:
        raise ConnectionRefusedError("my database")

    async def refuse(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    def run() -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        worker = FastWorker(
            [note],
            job_serializer=pickle.dumps,
            job_deserializer=pickle.loads,
            redis_settings=settings,
            handle_signals=False,
            on_startup=fail,
        )
        worker._leave_redis = refuse  # type: ignore[method-assign]
        try:
            worker.run()
        finally:
            loop.run_until_complete(worker.pool.aclose())
            loop.close()

    settings = RedisSettings(unix_socket_path=client.connection_pool.connection_kwargs["path"])
    with pytest.raises(ConnectionRefusedError, match="my database"):
        await asyncio.to_thread(run)
    assert "the start has failed, and closing what there was has, too" in caplog.messages


@pytest.mark.parametrize("steps", range(1, 60, 3))
async def test_close_ends_after_a_main_that_was_cancelled(
    client: ArqRedis, make: Make, steps: int
) -> None:
    """At any moment of its start, whether or not anybody waits for its end."""
    worker = make(FastWorker, note, burst=False, redis_pool=client)
    main = asyncio.ensure_future(worker.async_run())
    for _ in range(steps):
        await asyncio.sleep(0)
    await end(worker)
    assert worker.main_task is None or worker.main_task.done()
    await asyncio.wait([main], timeout=10)
    assert main.cancelled()


async def test_close_ends_when_redis_is_gone_and_does_not_wait_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    after: list[Context] = []

    async def note_end(ctx: Context) -> None:
        after.append(ctx)

    gate = Gate()
    with EmbeddedRedis() as server:
        async with maker(server, PICKLE) as make, stock_client(server, PICKLE) as client:
            await client.enqueue_job("enter")
            options = {"after_job_end": note_end, "handle_signals": True, "burst": False}
            worker = make(FastWorker, gate.function, **options)
            main = asyncio.ensure_future(worker.async_run())
            await gate.holds(1)
            server.stop()
            gate.opened.set()
            await end(worker)
            await asyncio.wait([main])
            assert main.cancelled()
            assert worker.tasks == {}
            assert after == [], "its result is recorded nowhere"


async def test_everything_is_closed_whatever_a_hook_raises(client: ArqRedis, make: Make) -> None:
    async def shut_down(ctx: Context) -> None:
        raise ZeroDivisionError

    worker = make(FastWorker, note, on_shutdown=shut_down)
    await worker.main()
    with pytest.raises(ZeroDivisionError):
        await end(worker)
    assert worker._pool is None
    assert worker._custody is None
    await end(worker)


async def test_a_close_that_is_cancelled_halfway_leaves_no_heart_behind(
    client: ArqRedis, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = asyncio.Event()

    async def stop() -> None:
        stopping.set()
        await asyncio.Event().wait()

    worker = make(FastWorker, note)
    await worker.main()
    with monkeypatch.context() as patch:
        patch.setattr(worker._upkeep, "stop", stop)
        closing = asyncio.create_task(worker.close())
        await stopping.wait()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
    assert [one for one in threading.enumerate() if one.name == "uow.process.heart"] == []
    await end(worker)
