"""Stock arq's worker and ours, in this process, on a real Redis."""

import asyncio
import contextlib
import logging
import pickle
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

import pytest
from arq.connections import ArqRedis, create_pool
from arq.worker import Worker

from uow.broker import codec
from uow.broker.redis import RedisClient, arq_settings
from uow.embedded import EmbeddedRedis
from uow.fast.worker import FastWorker

W = TypeVar("W", bound=Worker)


class Make(Protocol):
    """Makes a worker of a kind."""

    def __call__(self, kind: type[W], /, *functions: Any, **options: Any) -> W: ...


Build = Callable[..., Worker]
"""Makes a worker of the kind that is tried."""

Context = dict[Any, Any]

PICKLE = {"job_serializer": pickle.dumps, "job_deserializer": pickle.loads}
JSON = {"job_serializer": codec.serialize, "job_deserializer": codec.deserialize}

FAR = 600.0
"""Seconds: long after the end of any test."""


def far_hour() -> int:
    """For a cron job that is not to be due by itself while a test runs."""
    return (datetime.now().hour + 12) % 24  # noqa: DTZ005 - arq's own zone


@pytest.fixture(autouse=True)
def _arqs_own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what our startup hook has edited in it, should an earlier test have run that."""
    monkeypatch.setattr(logging.getLogger("arq.worker"), "filters", [])


@pytest.fixture(params=[Worker, FastWorker], ids=["stock", "fast"])
def engine(request: pytest.FixtureRequest) -> type[Worker]:
    """Each behaviour is tried on both."""
    kind: type[Worker] = request.param
    return kind


@pytest.fixture
def wire() -> dict[str, Any]:
    """The serializers, of the client as well as of the workers; arq's default."""
    return PICKLE


@pytest.fixture
async def client(
    redis: RedisClient, redis_server: EmbeddedRedis, wire: dict[str, Any]
) -> AsyncIterator[ArqRedis]:
    """A stock client of an empty Redis."""
    async with stock_client(redis_server, wire) as pool:
        yield pool


@contextlib.asynccontextmanager
async def stock_client(server: EmbeddedRedis, wire: dict[str, Any]) -> AsyncIterator[ArqRedis]:
    pool = await create_pool(arq_settings(server.url), **wire)
    yield pool
    await pool.aclose()


@pytest.fixture
async def make(
    redis: RedisClient, redis_server: EmbeddedRedis, wire: dict[str, Any]
) -> AsyncIterator[Make]:
    """Make workers; they are closed with the test."""
    async with maker(redis_server, wire) as make_worker:
        yield make_worker


@contextlib.asynccontextmanager
async def maker(server: EmbeddedRedis, wire: dict[str, Any]) -> AsyncIterator[Make]:
    made: list[Worker] = []

    def make_worker(kind: type[W], /, *functions: Any, **options: Any) -> W:
        chosen = {"handle_signals": False, "poll_delay": 0.01, "burst": True, **wire, **options}
        worker = kind(functions=functions, redis_settings=arq_settings(server.url), **chosen)
        made.append(worker)
        return worker

    yield make_worker
    for worker in made:
        await end(worker)


async def end(worker: Worker) -> None:
    """Close a worker, whatever has become of it."""
    if not isinstance(worker, FastWorker):  # arq's own gives up if a job was just being finished
        worker.handle_sig(signal.SIGUSR1)
        if worker.tasks:
            await asyncio.wait(worker.tasks.values())
        worker.tasks.clear()
    await worker.close()


@pytest.fixture
def build(make: Make, engine: type[Worker]) -> Build:
    """Make workers of the kind that is tried."""

    def build_one(*functions: Any, **options: Any) -> Worker:
        return make(engine, *functions, **options)

    return build_one


@contextlib.asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    """Let workers that were not made for a burst run while the block does."""
    mains = []
    for worker in workers:
        worker.burst = False
        mains.append(asyncio.ensure_future(worker.async_run()))
    try:
        yield
    finally:
        for main in mains:
            main.cancel()
        await asyncio.wait(mains)


async def until(condition: Callable[[], Awaitable[Any]], timeout: float = 10.0) -> None:
    """Ask about something in Redis, with a deadline."""
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.005)
