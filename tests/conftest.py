"""Real servers, started once per session; a cloned database and an empty Redis for each test."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest
from arq.worker import Worker
from pydantic import SecretStr

from tests.databases import Databases
from tests.pools import checked_out
from tests.processes import WorkerProcess, fork_server
from uow import Database, Settings, TaskClient
from uow.broker.redis import RedisClient, connect
from uow.db import migrations
from uow.db.migrations.application import AppMigrations
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.fast.task_worker import TaskWorker
from uow.host import Process
from uow.main import arq_options, prepared
from uow.stock.worker import BurstWorker
from uow.tasks.registry import Registry, default_registry

TEMPLATE = "migrated"

SEARCH_PATH = {"search_path": "public,worker"}
"""Of the tests' servers: what a test says in SQL of its own means our tables without their schema.
Statements of the product name it; `tests/integration/test_roles.py` runs without this."""


def pytest_collection_finish() -> None:
    """What collecting has made stays until the end, so no collection of garbage looks at it again.

    Some 400,000 objects: a quarter of a second for each module's `gc.collect()` below.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("WORKER_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module", autouse=True)
def _what_is_left_open_is_found_where_it_was_left() -> Iterator[None]:
    """An unclosed socket is an error when it is collected: here, not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _any_name_may_be_enqueued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever test of this process has loaded task modules: others enqueue by names of theirs."""
    monkeypatch.setattr(default_registry, "loaded", False)


@pytest.fixture(autouse=True)
def _no_trace_goes_on_in_the_next_test() -> Iterator[None]:
    """What is told of an attempt without an asyncio task of its own stays current in the test's."""
    yield
    if contexts := sys.modules.get("opentelemetry.context"):
        contexts.attach(contexts.Context())


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> Iterator[None]:
    yield
    fork_server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(settings=SEARCH_PATH) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres) -> Iterator[Databases]:
    """Those of the session's Postgres."""
    with Databases(postgres) as made:
        yield made


@pytest.fixture(scope="session")
def our_template(postgres: EmbeddedPostgres, databases: Databases) -> str:
    """A database with our tables, to be cloned."""
    databases.create(TEMPLATE)

    async def migrate() -> None:
        async with Database(postgres.url_for(TEMPLATE)) as db:
            await migrations.upgrade(db)

    asyncio.run(migrate())
    return TEMPLATE


@pytest.fixture(scope="session")
def application_template(
    postgres: EmbeddedPostgres, databases: Databases, our_template: str
) -> str:
    """One with the application's tables, too."""
    databases.create("application", our_template)

    async def migrate() -> None:
        async with Database(postgres.url_for("application")) as db:
            await AppMigrations("worker.migrations").upgrade(db)

    asyncio.run(migrate())
    return "application"


@pytest.fixture(scope="session")
def template(our_template: str) -> str:
    """What each test's database is cloned from."""
    return our_template


@pytest.fixture
def database_url(databases: Databases, template: str) -> Iterator[str]:
    """A database of the test's own, with our tables."""
    with databases.one(template) as url:
        yield url


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database of the test's own, without tables."""
    with databases.one() as url:
        yield url


@pytest.fixture
async def redis(redis_server: EmbeddedRedis) -> AsyncIterator[RedisClient]:
    """A client of an empty Redis."""
    client = connect(redis_server.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def settings(database_url: str, redis_server: EmbeddedRedis, redis: RedisClient) -> Settings:
    """Settings that lead to the test's servers."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_server.url),
        concurrency=5,
        lease_seconds=2.0,
        shutdown_grace=0,
    )


@pytest.fixture
async def db(settings: Settings) -> AsyncIterator[Database]:
    async with Database.from_settings(settings.require_database()) as database:
        yield database
        assert checked_out(database) == 0


@pytest.fixture
async def client(settings: Settings, db: Database) -> AsyncIterator[TaskClient]:
    async with TaskClient.from_settings(settings, db=db) as open_client:
        yield open_client


@pytest.fixture
def registry() -> Registry:
    """Where the test's own task functions are registered."""
    return Registry()


Drain = Callable[[], Coroutine[Any, Any, Worker]]


def task_worker(
    kind: type[TaskWorker | BurstWorker],
    settings: Settings,
    registry: Registry,
    *,
    burst: bool = True,
    **options: Any,
) -> tuple[Process, Worker]:
    """A worker of our tasks, and its process."""
    process = prepared(settings, registry, burst=burst)
    return process, kind(process, **{**arq_options(process), "handle_signals": False, **options})


@pytest.fixture
def processes() -> list[Process]:
    """Those that `drain` has run, the last one at the end."""
    return []


@pytest.fixture
def interrupt_all(processes: list[Process]) -> Callable[[], None]:
    """Interrupt every attempt, as a shutdown does; called in one."""
    return lambda: processes[-1].services.vitals.running.interrupt_all()


@pytest.fixture(params=["stock", "fast"])
def drain(
    request: pytest.FixtureRequest,
    settings: Settings,
    registry: Registry,
    processes: list[Process],
) -> Drain:
    """Run a worker of either kind in this process until neither store has a due task."""
    kinds: dict[str, type[TaskWorker | BurstWorker]] = {"stock": BurstWorker, "fast": TaskWorker}

    async def run() -> Worker:
        process, worker = task_worker(kinds[request.param], settings, registry, poll_delay=0.01)
        processes.append(process)
        try:
            await worker.async_run()
        finally:
            await worker.close()
        return worker

    return run


@pytest.fixture
def start_worker(settings: Settings) -> Iterator[Callable[..., WorkerProcess]]:
    """Start worker processes (`worker run --stock`) on the test's servers."""
    started: list[WorkerProcess] = []

    def start(*arguments: str, fresh: bool = False, **environment: str) -> WorkerProcess:
        process = WorkerProcess(settings, arguments, environment, fresh=fresh)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill9()
