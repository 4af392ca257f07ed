"""`TaskClient`: enqueues in transactions of its own, and answers handles."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload
from uuid import UUID

import asyncpg
from arq.connections import ArqRedis
from sqlalchemy.util import greenlet_spawn

from uow.broker import codec, keys, scripts
from uow.broker.connection import ScriptConnection
from uow.broker.hints import Hints
from uow.broker.redis import connect
from uow.broker.scripts import Job
from uow.db import enqueueing, reading
from uow.db.database import Database
from uow.db.enqueueing import Inserted, NewTasks
from uow.errors import InvalidOptions
from uow.events.spine import Spine
from uow.events.tasks import TaskEnqueued
from uow.failpoints import reach
from uow.schedules.by_hand import Schedules
from uow.settings.environment import Settings, load_settings
from uow.tasks.enqueue import (
    Enqueueable,
    Request,
    enqueue_in,
    enqueued,
    handles_for,
    hooks_of,
    jobs_of,
    rows_of,
)
from uow.tasks.handle import Ending, TaskHandle, TaskView
from uow.tasks.interventions import Filter, Interventions, Retryable
from uow.tasks.outlets import Outlet, close_outlet, open_outlet
from uow.tasks.pusher import Pusher
from uow.tasks.queue_owner import Onlooker
from uow.tasks.reference import target_of
from uow.tasks.refusal import refusal_of
from uow.tasks.registry import default_registry
from uow.tasks.rowless import RowlessTasks

P = ParamSpec("P")
R = TypeVar("R")

ROWS_PER_STATEMENT = 2_000
"""Rows of a large `enqueue_many` that are written while the jobs of those before are made."""


class TaskClient:
    """Enqueues tasks; while it is open it pushes for its database's sessions and answers handles.

    Args:
        db: The database with the table `task`.
        redis: A client with our serializer.
        settings: Queue, schema and limits.
        events: Whom to tell what is enqueued and cancelled; None: whom `@on` has registered.

    Attributes:
        schedules: The schedules of `WORKER_APP`: to look at, pause, resume, run by hand.
        settings, events: What it was told, and whom it tells.
    """

    def __init__(
        self, db: Database, redis: ArqRedis, settings: Settings, events: Spine | None = None
    ) -> None:
        self.settings = settings
        self.events = events = events or default_registry.events
        self.db = db
        self.redis = redis
        self._connection = ScriptConnection(redis)
        self._pusher = Pusher(self._connection.run, Onlooker(db, redis, settings.app).look_at)
        push = partial(scripts.push, self._connection.run)
        self._rowless = RowlessTasks(push, redis, settings, events)
        self._hints = Hints(redis)
        self._interventions = Interventions(
            db, redis, self._pusher.announce, settings.retention, events
        )
        self._outlet = Outlet(
            schema=db.schema,
            queue=settings.queue,
            max_payload_bytes=settings.max_payload_bytes,
            announce=self._pusher.announce,
            reader=self,
            engine=db.engine.sync_engine,
            events=events,
            schema_is_given=db.schema_is_given,
        )
        self._owned = contextlib.AsyncExitStack()
        self.schedules = Schedules(db, settings.app)

    @classmethod
    def from_settings(cls, settings: Settings | None = None, *, db: Database | None = None) -> Self:
        """Build it from the settings; without any, from the environment. Nothing connects yet.

        Args:
            settings: Other settings than the environment's.
            db: Share this `Database` instead of making one (it is then yours to dispose of).

        Raises:
            SettingsError: A setting is missing, unknown or malformed.
        """
        chosen = settings or load_settings()
        owned = None if db is not None else Database.from_settings(chosen.require_database())
        redis = connect(chosen.redis_url.get_secret_value(), queue=chosen.queue)
        client = cls(db or owned, redis, chosen)  # type: ignore[arg-type]
        client._owned.push_async_callback(redis.aclose)
        if owned is not None:
            client._owned.push_async_callback(owned.dispose)
        return client

    async def __aenter__(self) -> Self:
        await self._pusher.start()
        open_outlet(self._outlet)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        close_outlet(self._outlet)
        await self._hints.stop()
        await self._pusher.stop()
        await self._connection.close()
        await self._owned.aclose()

    @overload
    async def enqueue(
        self, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...

    @overload
    async def enqueue(self, task: str, /, **arguments: object) -> TaskHandle[Any]: ...

    async def enqueue(
        self, task: Enqueueable[Any, Any] | str, /, *args: Any, **kwargs: Any
    ) -> TaskHandle[Any]:
        """Enqueue one task in a transaction of its own: when this returns, it is committed.

        A task that is ``durable=False`` is pushed to Redis instead.

        Raises:
            EnqueueError: The arguments or options do not fit; nothing was enqueued.
            SchemaError: Our tables are not there, or our role may not write into them.
            ServerUnreachable: The task is ``durable=False`` and Redis did not answer.
        """
        target = target_of(task)
        return (await self.enqueue_many(target, [target.bind(args, kwargs)]))[0]

    async def enqueue_many(
        self, task: Enqueueable[Any, R] | str, many: Sequence[Mapping[str, object]], /
    ) -> list[TaskHandle[R]]:
        """Enqueue one task per element of `many`, in one transaction and few round trips.

        Raises:
            EnqueueError: Arguments or options do not fit; nothing was enqueued.
            SchemaError: As `enqueue`.
            ServerUnreachable: The task is ``durable=False`` and Redis did not answer.
        """
        target = target_of(task)
        request = target.request_many(dict(arguments) for arguments in many)
        if request.options.bind is not None:
            raise InvalidOptions(
                f"{request.name}: bind= is for a session of yours; this is our own"
            )
        if not many:
            return []
        if not request.durable:
            return await self._rowless.push(request)
        return await self._insert(request)

    def announce(self, jobs: Sequence[Job]) -> None:
        """Push `jobs` soon; their rows are committed."""
        self._pusher.announce(jobs)

    @property
    def queue(self) -> str:
        """Where tasks go that name no queue."""
        return self._outlet.queue

    async def flush(self) -> None:
        """Return when every task announced so far was pushed, or left to the relay."""
        await self._pusher.flush()

    def handle(self, task_id: UUID, name: str = "task") -> TaskHandle[Any]:
        """The handle of a task by its id, for example from an earlier process."""
        return TaskHandle(task_id, name, lambda: self, codec.from_bytes)

    async def get(self, task_id: UUID) -> TaskView | None:
        """Everything about a task, its errors included; None: it is not there."""
        stored = await reading.read(self.db, task_id)
        if stored is None:
            return None
        return TaskView.of(stored, await reading.read_errors(self.db, task_id))

    async def ending(self, task_id: UUID) -> Ending | None:
        """How far a task is, as handles ask it."""
        word = await reading.ending(self.db, task_id)
        return None if word is None else Ending.of(word)

    def hint(self, task_id: UUID) -> contextlib.AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set when the task is settled and the hint about it is not lost."""
        return self._hints.waiting_for(keys.settled_channel(str(task_id)))

    async def cancel(self, task_id: UUID) -> bool:
        """Settle a task as cancelled, at once and for good; False: it was settled, or is none."""
        return await self._interventions.cancel(task_id)

    async def retry(self, task_id: UUID) -> bool:
        """Run a task again, at once, with all its tries; False: it is neither failed nor cancelled.

        Raises:
            UniqueKeyTaken: Another task has its unique key.
            TaskNotFound: It is not there.
        """
        return await self._interventions.retry(task_id)

    async def retry_many(
        self,
        *,
        name: str | None = None,
        state: Retryable | None = None,
        queue: str | None = None,
        user_id: str | int | None = None,
        settled_before: datetime | None = None,
        limit: int | None = None,
    ) -> int:
        """Run the failed tasks again that fit everything that is given, the oldest first.

        Left alone is a task whose unique key another has; of several with one key the youngest runs
        again. Each thousand is a transaction of its own.

        At least one argument beside `limit` is needed: to retry every failed task say so,
        ``state="failed"``.

        Args:
            name: The task function's name.
            state: Instead of the failed tasks the ``"cancelled"`` ones, or ``"both"``.
            queue: Their queue.
            user_id: The user they belong to.
            settled_before: A moment before which they were settled.
            limit: How many at most.

        Returns:
            How many run again.

        Raises:
            InvalidOptions: Nothing is given, or a value does not fit.
        """
        user = None if user_id is None else str(user_id)
        return await self._interventions.retry_many(
            Filter(
                name=name, state=state, queue=queue, user_id=user,
                settled_before=settled_before, limit=limit,
            )
        )  # fmt: skip

    async def _insert(self, request: Request[R]) -> list[TaskHandle[R]]:
        if request.options.unique_key is not None:
            async with self.db.get_session() as session:
                return await enqueue_in(session, request, self._outlet)
        with hooks_of(request, self._outlet.queue) as hooks:
            new = rows_of(request, self._outlet, hooks.headers)
            jobs = await self._insert_or_explain(new)
            handles = handles_for(request, new.ids, self.db.engine.sync_engine)
            hooks.written(new.ids)
        reach("enqueue_committed")
        self._pusher.announce(jobs)
        if self.events.wants(TaskEnqueued):
            self.events.emit_all(enqueued(new))
        return handles

    async def _insert_or_explain(self, new: NewTasks) -> list[Job]:
        try:
            return await self._insert_rows(new)
        except asyncpg.PostgresError as error:
            engine = self.db.engine.sync_engine
            refusal = await greenlet_spawn(refusal_of, error, engine, self._outlet)
            if refusal is None:
                raise
            raise refusal from error

    async def _insert_rows(self, new: NewTasks) -> list[Job]:
        if len(new.ids) <= ROWS_PER_STATEMENT:
            return jobs_of(await enqueueing.insert(self.db, new), new)
        return await self._insert_in_chunks(new)

    async def _insert_in_chunks(self, new: NewTasks) -> list[Job]:
        jobs: list[Job] = []
        rows: Iterable[Inserted] = ()
        async with self.db.transaction() as transaction:
            for at in range(0, len(new.ids), ROWS_PER_STATEMENT):
                part = slice(at, at + ROWS_PER_STATEMENT)
                chunk = replace(new, ids=new.ids[part], arguments=new.arguments[part])
                writing = asyncio.ensure_future(enqueueing.insert(transaction, chunk))
                try:
                    await asyncio.sleep(0)  # Postgres has work; meanwhile we have some, too
                    jobs += jobs_of(rows, new)
                finally:
                    rows = await writing
        return jobs + jobs_of(rows, new)
