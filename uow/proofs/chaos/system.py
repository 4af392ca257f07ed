"""What is put under chaos: how a task is enqueued, and what is left of it afterwards."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from pydantic import SecretStr
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from uow.broker import keys
from uow.client import TaskClient
from uow.db import migrations
from uow.db.database import Database
from uow.db.failures import PASSING, sqlstate
from uow.errors import ServerUnreachable
from uow.proofs.chaos.fleet import Target
from uow.proofs.chaos.tasks import EFFECTS, FUNCTIONS, kind_of
from uow.run import run_tasks
from uow.settings.environment import GivenSettings, Settings
from uow.settings.parts import DEFAULT_SCHEMA

CONCURRENCY = 10
"""Tasks at once in one worker, for us and for the baseline."""

LEASE_SECONDS = 4.0
"""Shorter than a worker is frozen, so that others take over what it comes back to."""

QUEUE = "chaos"

UNCLEAR: tuple[type[Exception], ...] = (*PASSING, SQLAlchemyError, RedisError)
"""Errors after which nobody knows whether the task is there, unless they tell more."""

REFUSED = ("57P03", "53300")
"""What Postgres says to whom it lets not in: it is starting or stopping, or it is full."""

_ALWAYS_WRONG = ("arq:job", "arq:in-progress")

FOREVER = -1
"""What Redis says of a key without a time to live."""

SHOWN = 20
"""How many of the tasks that are left are described."""


class NotSent(Exception):
    """The server cannot be reached, so surely nothing was sent to it."""


class System(Protocol):
    """A task queue under chaos.

    Attributes:
        name: What people call it.
        db: The database with the effects.
        command: What its worker processes run.
    """

    name: str
    db: Database
    command: Target

    async def enqueue(self, number: int) -> None:
        """Enqueue the task with this number; when it returns, that is a promise.

        Raises:
            NotSent: Nothing was sent; try again.
        """

    async def unfinished(self) -> int:
        """How many tasks may still change something."""

    async def unfinished_numbers(self) -> set[int]:
        """The numbers of those tasks."""

    async def failures(self) -> Sequence[str]:
        """The tasks that ended otherwise than well, where that is known."""

    async def leftovers(self) -> dict[str, int]:
        """What lies in Redis and should not when all is done: how many, by their prefix."""

    async def describe(self) -> Sequence[str]:
        """What is known about the tasks that are unfinished, for whoever has to find out why."""


_UNFINISHED = text("SELECT count(*) FROM worker.task WHERE settled_at IS NULL")

_UNFINISHED_NUMBERS = text(
    "SELECT DISTINCT CAST(args ->> 'number' AS int) FROM worker.task WHERE settled_at IS NULL"
)

_FAILURES = text("""
    SELECT task.name, task.args ->> 'number' AS number, state, error_type, message
    FROM worker.task AS task LEFT JOIN LATERAL (
        SELECT error_type, message FROM worker.task_error
        WHERE task_id = task.id ORDER BY id DESC LIMIT 1
    ) AS last ON true
    WHERE state IN ('failed', 'cancelled')
""")

_LEFT = text("""
    SELECT id, name, args ->> 'number' AS number, state, attempt, tries, worker,
           extract(epoch FROM run_at - now()) AS due,
           extract(epoch FROM dispatch_at - now()) AS look
    FROM worker.task WHERE settled_at IS NULL ORDER BY created_at LIMIT :limit
""")


class OurWorker:
    """This package: rows in Postgres, jobs in Redis.

    Args:
        db: The database with the tables `worker.task` and `chaos_effect`.
        client: An open client.
        settings: Of the workers.
    """

    name = "worker"

    def __init__(self, db: Database, client: TaskClient, settings: Settings) -> None:
        self.db = db
        self.command: Target = (run_tasks, (settings,))
        self._client = client
        self._queue = settings.queue

    async def enqueue(self, number: int) -> None:
        """Enqueue in a transaction: every other time the client's, else our own."""
        function = FUNCTIONS[kind_of(number)]
        try:
            if number % 2:
                await self._client.enqueue(function, number)
            else:
                async with self.db.get_session() as session:
                    await function.enqueue(session, number)
        except UNCLEAR as error:
            if isinstance(error, ServerUnreachable | PoolTimeout) or sqlstate(error) in REFUSED:
                raise NotSent(str(error)) from error
            raise

    async def unfinished(self) -> int:
        """Tasks that are not settled."""
        return int((await self.db.execute_once(_UNFINISHED, {})).scalar_one())

    async def unfinished_numbers(self) -> set[int]:
        """The numbers of those tasks."""
        return set((await self.db.execute_once(_UNFINISHED_NUMBERS, {})).scalars())

    async def failures(self) -> list[str]:
        """Tasks that failed or were cancelled, with their last error."""
        return [
            f"{row.name} {row.number} {row.state}: {row.error_type}: {row.message}"
            for row in await self.db.execute_once(_FAILURES, {})
        ]

    async def leftovers(self) -> dict[str, int]:
        """Queue entries, payloads and locks; of other keys, those that will never expire."""
        redis = self._client.redis
        found = {"queue": int(await redis.zcard(self._queue))}
        async for key in redis.scan_iter("arq:*", 1000):
            name = key.decode()
            prefix = ":".join(name.split(":")[:2])
            if name == self._queue:
                continue
            if prefix in _ALWAYS_WRONG or await redis.pttl(key) == FOREVER:
                found[prefix] = found.get(prefix, 0) + 1
        return {what: many for what, many in found.items() if many}

    async def describe(self) -> list[str]:
        """Row and job of what is left."""
        rows = await self.db.execute_once(_LEFT, {"limit": SHOWN})
        return [
            f"{row.name} {row.number} {row.state}, attempt {row.attempt}, tries {row.tries}, due "
            f"in {row.due:.1f} s, next look in {row.look:.1f} s, last worker {row.worker}, in "
            f"redis: {await self._job(str(row.id))}"
            for row in rows
        ]

    async def _job(self, job_id: str) -> str:
        redis = self._client.redis
        score = await redis.zscore(self._queue, job_id)
        payload = await redis.exists(keys.job(job_id))
        lock = await redis.pttl(keys.in_progress(job_id))  # -2: there is none
        return f"score {score}, payload {bool(payload)}, lock for {lock} ms"


@contextlib.asynccontextmanager
async def open_our_worker(postgres_url: str, redis_url: str) -> AsyncIterator[OurWorker]:
    """Make the tables and open a client."""
    settings = GivenSettings(
        database_url=SecretStr(postgres_url),
        database_schema=DEFAULT_SCHEMA,
        redis_url=SecretStr(redis_url),
        task_modules=("uow.proofs.chaos.tasks",),
        queue=QUEUE,
        concurrency=CONCURRENCY,
        lease_seconds=LEASE_SECONDS,
        shutdown_grace=1.0,
    )
    async with Database.from_settings(settings.require_database()) as db:
        await migrations.upgrade(db)
        await db.execute_once(EFFECTS, {})
        async with TaskClient.from_settings(settings, db=db) as client:
            yield OurWorker(db, client, settings)
