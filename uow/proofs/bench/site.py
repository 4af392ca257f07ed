"""Where is measured: throwaway servers, or the configured ones in a corner of our own.

On the configured servers everything lies in a schema and a queue with a random name, and is removed
at the end, whatever that is. What is in Redis is found by the ids of our own tasks; no key is
looked for by a pattern, because the others are not ours.
"""

import asyncio
import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from arq.constants import health_check_key_suffix
from pydantic import SecretStr
from sqlalchemy import insert, text

from uow.app import find_app
from uow.attempt.shield import shielded
from uow.broker import keys
from uow.broker.redis import AWAY, RedisClient, connect
from uow.client import TaskClient
from uow.db import migrations
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.db.fleet import find_pulse
from uow.embedded import EmbeddedPostgres, EmbeddedRedis
from uow.errors import SchemaError, SettingsError, WorkerError
from uow.proofs.bench.app import BenchSettings, GivenBenchSettings
from uow.proofs.bench.plan import BenchPlan
from uow.proofs.bench.tasks import ACCOUNTS, BenchAccount, BenchBase
from uow.services.readiness import wait_for_postgres, wait_for_redis
from uow.settings.environment import SPARE_CONNECTIONS, load_settings
from uow.settings.parts import DEFAULT_SCHEMA

NAME = "worker_bench"
"""Schemas and queues of ours are called so, with a random end."""

GRACE_SECONDS = 1.0
"""Tasks last milliseconds; what runs longer waits at a gate that will not be opened any more."""

CONNECTIONS_BESIDE_POOL = 2
"""Of each worker process: it listens for new rows, and one is there while it starts."""

KEYS_PER_CALL = 1000


@dataclass(frozen=True, slots=True)
class Site:
    """The servers and how to reach them.

    Attributes:
        settings: Of the workers.
        directory: Where orders, tallies and logs lie.
        ids: Of every task that was enqueued.
    """

    settings: BenchSettings
    directory: Path
    db: Database
    client: TaskClient
    ids: list[str] = field(default_factory=list)

    async def enqueue(self, task: Any, many: Sequence[dict[str, object]]) -> None:
        """Enqueue `task` with each of these arguments and remember the ids.

        A cancellation comes when that is done: what is pushed must be known to be removed.
        """

        async def work() -> None:
            self.ids.extend(str(handle.id) for handle in await self.client.enqueue_many(task, many))

        working = asyncio.ensure_future(work())
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            raise


@contextlib.asynccontextmanager
async def open_site(plan: BenchPlan) -> AsyncIterator[Site]:
    """Have servers, tables and a client while the block runs; leave nothing.

    Raises:
        EmbeddedServerError: A throwaway server's binaries are not there or do not start.
        ServerUnreachable: A configured server does not answer.
        SettingsError: `WORKER_DATABASE_URL` is not set, or something else does not fit.
        WorkerError: The database does not let us make a schema.
    """
    async with contextlib.AsyncExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="worker-bench-"))
        opening = _configured if plan.servers else _embedded
        settings = await opening(plan, Path(place), stack)
        db = await stack.enter_async_context(Database.from_settings(settings.require_database()))
        ids: list[str] = []
        if plan.servers:
            stack.push_async_callback(lambda: shielded(_clean_up(db, settings, ids)))
        await _make_tables(db)
        client = await stack.enter_async_context(TaskClient.from_settings(settings, db=db))
        yield Site(settings, Path(place), db, client, ids)


async def _embedded(
    plan: BenchPlan, place: Path, stack: contextlib.AsyncExitStack
) -> BenchSettings:
    concurrency = plan.concurrency or GivenBenchSettings().concurrency
    connections = _connections(plan, concurrency)
    postgres = EmbeddedPostgres(fsync=True, settings={"max_connections": str(connections)})
    redis = EmbeddedRedis()
    await stack.enter_async_context(postgres)
    await stack.enter_async_context(redis)
    found = GivenBenchSettings(database_url=SecretStr(postgres.url), redis_url=SecretStr(redis.url))
    return _ours(found, plan, concurrency, place, NAME)


async def _configured(
    plan: BenchPlan, place: Path, stack: contextlib.AsyncExitStack
) -> BenchSettings:
    _ = stack
    find_app(None)  # its settings are beside ours in the environment, and are no slips
    found = load_settings(BenchSettings)
    name = f"{NAME}_{secrets.token_hex(4)}"
    settings = _ours(found, plan, plan.concurrency or found.concurrency, place, name)
    if found.database_url is None:
        raise SettingsError("--servers measures the configured servers: set WORKER_DATABASE_URL")
    async with (
        Database.from_settings(settings.require_database()) as db,
        contextlib.aclosing(connect(settings.redis_url.get_secret_value())) as redis,
    ):
        await wait_for_postgres(db, settings.connect_timeout)
        await wait_for_redis(redis, settings)
    return settings


def _ours(
    found: BenchSettings, plan: BenchPlan, concurrency: int, place: Path, queue: str
) -> BenchSettings:
    """Everything that matters is said aloud, because the environment may say something else."""
    return found.model_copy(
        update={
            "database_schema": queue if plan.servers else DEFAULT_SCHEMA,
            "queue": queue,
            "concurrency": concurrency,
            "pool_size": None,
            "task_modules": (),
            "tally_dir": place,
            "log_level": "WARNING",
            "shutdown_grace": GRACE_SECONDS,
            "metrics_port": 0 if plan.metrics else None,  # several processes: not all at one port
            "health_port": None,
        }
    )


def _connections(plan: BenchPlan, concurrency: int) -> int:
    per_process = concurrency + SPARE_CONNECTIONS + CONNECTIONS_BESIDE_POOL
    return max(200, (plan.processes + 1) * per_process)


async def _make_tables(db: Database) -> None:
    try:
        await migrations.upgrade(db)
    except SchemaError as error:
        raise WorkerError(f"{error}; or measure on throwaway servers, without --servers") from error
    async with db.engine.begin() as connection:
        await connection.run_sync(BenchBase.metadata.create_all)
        await connection.execute(insert(BenchAccount), [{"id": id_} for id_ in range(ACCOUNTS)])


async def _clean_up(db: Database, settings: BenchSettings, ids: list[str]) -> None:
    """Remove what we have made on the configured servers. No worker runs any more."""
    try:
        async with contextlib.aclosing(connect(settings.redis_url.get_secret_value())) as redis:
            ours = [*await _job_keys(redis, settings.queue, ids), *await _leader_keys(db)]
            for at in range(0, len(ours), KEYS_PER_CALL):
                await redis.unlink(*ours[at : at + KEYS_PER_CALL])
        await db.execute_once(text(f'DROP SCHEMA IF EXISTS "{db.schema}" CASCADE'), {})
    except (*PASSING, *AWAY) as error:
        raise WorkerError(
            f"could not remove the schema and the queue {db.schema} ({type(error).__name__}): "
            "docs/performance.md says how to do it by hand"
        ) from error


async def _job_keys(redis: RedisClient, queue: str, ids: list[str]) -> list[str]:
    """Keys of our jobs: those that we know, and those that wait."""
    found = [queue, queue + health_check_key_suffix, keys.owner(queue), keys.owner_lives(queue)]
    waiting = [entry.decode() for entry in await redis.zrange(queue, 0, -1)]
    for id_ in {*ids, *waiting}:
        found += [keys.job(id_), keys.in_progress(id_), keys.retries(id_), keys.result(id_)]
    return found


async def _leader_keys(db: Database) -> list[str]:
    """What the leader of our workers has left; it would expire within a day."""
    try:
        left = await find_pulse(db)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):  # interrupted so early
        return []
    return [keys.pulse(left)] if left else []
