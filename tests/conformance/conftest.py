"""One suite of safety for every worker, under faults that are really there.

A test that a worker cannot pass by its nature is in `SKIPPED` with the reason, and nowhere else.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.clusters import CopiedPostgres, prepared_cluster
from tests.conftest import SEARCH_PATH
from tests.processes import WorkerProcess
from uow import Database, Settings, TaskClient
from uow.embedded import EmbeddedPostgres, EmbeddedRedis

WORKERS = {"stock": ("--stock",), "fast": ()}

SKIPPED: dict[tuple[str, str], str] = {}

READY = "ready: queue"


@pytest.fixture(params=WORKERS)
def worker_kind(request: pytest.FixtureRequest) -> str:
    """Which worker the test runs on."""
    reason = SKIPPED.get((request.param, request.function.__name__))
    if reason is not None:
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"task_modules": ("tests.conformance.tasks",), "lease_seconds": 1.5}
    )


@pytest.fixture
def start_worker(settings: Settings, worker_kind: str) -> Iterator[Callable[..., WorkerProcess]]:
    """Start worker processes on the test's servers."""
    started: list[WorkerProcess] = []

    def start(**environment: str) -> WorkerProcess:
        process = WorkerProcess(settings, (), environment, kind=WORKERS[worker_kind])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill9()


@dataclass(frozen=True, slots=True)
class House:
    """Servers of the test's own, which it may hurt, and how to look at what tasks did."""

    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    settings: Settings
    db: Database
    client: TaskClient
    _start: Callable[..., WorkerProcess]
    _place: Path

    @property
    def gate(self) -> Path:
        """The file for which `tasks.hold_until` waits, until the test makes it."""
        return self._place / "gate"

    async def start_worker(self, **environment: str) -> WorkerProcess:
        """Start a worker and wait until it works."""
        return await self._started(fresh=False, environment=environment)

    async def start_fresh_worker(self, **environment: str) -> WorkerProcess:
        """The same, `fresh` as in `processes.start`."""
        return await self._started(fresh=True, environment=environment)

    async def _started(self, *, fresh: bool, environment: dict[str, str]) -> WorkerProcess:
        process = self._start(fresh=fresh, **environment)
        await asyncio.to_thread(process.wait_for_log, READY)
        return process


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """The Postgres of which every house has a copy."""
    with prepared_cluster(create_effects) as directory:
        yield directory


@pytest.fixture
async def house(tmp_path: Path, worker_kind: str, cluster: Path) -> AsyncIterator[House]:
    """Own servers, own database, own workers."""
    started: list[WorkerProcess] = []
    server = CopiedPostgres(cluster, tcp=True, settings=SEARCH_PATH)
    async with server as postgres, EmbeddedRedis(tcp=True) as redis:
        settings = Settings(
            database_url=SecretStr(postgres.url),
            redis_url=SecretStr(redis.url),
            task_modules=("tests.conformance.tasks",),
            lease_seconds=1.5,
            shutdown_grace=0,
        )

        def start(*, fresh: bool = False, **environment: str) -> WorkerProcess:
            kind = WORKERS[worker_kind]
            started.append(WorkerProcess(settings, (), environment, kind=kind, fresh=fresh))
            return started[-1]

        async with Database.from_settings(settings.require_database()) as db:
            async with TaskClient.from_settings(settings, db=db) as client:
                yield House(postgres, redis, settings, db, client, start, tmp_path)
            for process in started:
                process.kill9()


@pytest.fixture
async def effects(db: Database) -> Callable[[], Awaitable[list[str]]]:
    """What tasks have done: a table without any constraint, so that twice shows."""
    await create_effects(db)

    async def applied() -> list[str]:
        return await effects_of(db)

    return applied


async def create_effects(db: Database) -> None:
    await db.execute_once(text("CREATE TABLE effect (what text)"), {})


async def effects_of(db: Database) -> list[str]:
    found = await db.execute_once(text("SELECT what FROM effect ORDER BY what"), {})
    return list(found.scalars())


async def wait_until(condition: Callable[[], Awaitable[bool]], timeout: float = 20.0) -> None:
    """Poll a condition in another process's state, with a deadline."""
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.02)


async def wait_until_running(client: TaskClient, task_id: UUID, timeout: float = 20.0) -> None:
    """Return when the task's function has reported that it runs."""

    async def running() -> bool:
        view = await client.get(task_id)
        return view is not None and view.progress is not None

    await wait_until(running, timeout)


def pause(process: WorkerProcess) -> None:
    os.kill(process.pid, signal.SIGSTOP)


def resume(process: WorkerProcess) -> None:
    os.kill(process.pid, signal.SIGCONT)
