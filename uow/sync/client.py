"""`uow.sync.TaskClient`: enqueues in transactions of its own, and answers handles."""

import atexit
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from uow.broker import blocking, codec, keys
from uow.broker.scripts import Job
from uow.db import enqueueing, reading
from uow.db.enqueueing import NewTasks
from uow.errors import ClientClosed, InvalidOptions
from uow.events.tasks import TaskEnqueued
from uow.failpoints import reach
from uow.settings.environment import Settings, load_settings
from uow.sync import forks
from uow.sync.database import SyncDatabase
from uow.sync.driver import make_engine, refuse_other_engine
from uow.sync.handle import TaskHandle
from uow.sync.immediately import immediately
from uow.sync.in_session import handles_for
from uow.sync.pusher import ThreadedPusher
from uow.sync.rowless import SyncRowlessTasks
from uow.tasks.enqueue import (
    Enqueueable,
    Request,
    WrittenTasks,
    enqueued,
    hooks_of,
    jobs_of,
    rows_of,
    write_in,
)
from uow.tasks.handle import Ending, TaskView
from uow.tasks.interventions import Filter, Interventions, Retryable
from uow.tasks.outlets import Outlet, close_outlet, open_outlet
from uow.tasks.queue_owner import Onlooker
from uow.tasks.reference import target_of
from uow.tasks.refusal import refusal_of
from uow.tasks.registry import default_registry

P = ParamSpec("P")
R = TypeVar("R")

ROWS_PER_STATEMENT = 2_000
"""Rows of a large `enqueue_many` that are written at once."""


class TaskClient:
    """Enqueues tasks; while it is open it pushes for its database's sessions and answers handles.

    It is open from the moment it is made until `close()`, the end of its block, or the end of the
    process. Any thread may use it; so may a process that was forked after it was made, with
    connections of its own.

    Args:
        engine: Of psycopg or psycopg2; disposing of it is the caller's.
        settings: Redis, queue, schema and limits.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        url, schema = settings.redis_url.get_secret_value(), settings.database_schema
        self._db = SyncDatabase(engine, schema)
        self._redis = blocking.connect(url)
        self._hints = blocking.connect(url, timeout=blocking.PATIENCE_SECONDS)
        answered: Any = blocking.Answered(self._redis)
        onlooker = Onlooker(self._db, answered, settings.app)
        self._pusher = ThreadedPusher(
            partial(blocking.push, self._redis),
            lambda queues: immediately(onlooker.look_at(queues)),
        )
        self._events = events = default_registry.events
        self._interventions = Interventions(
            self._db, answered, self._pusher.announce, settings.retention, events
        )
        self._rowless = SyncRowlessTasks(self._redis, settings, events)
        self._owned: Engine | None = None
        self._outlet = Outlet(
            schema=schema,
            queue=settings.queue,
            max_payload_bytes=settings.max_payload_bytes,
            announce=self._pusher.announce,
            sync_reader=self,
            engine=engine,
            events=events,
            schema_is_given=settings.given_schema is not None,
        )
        self._is_open = True
        open_outlet(self._outlet)
        forks.begins_anew(self)
        atexit.register(self.close)

    @classmethod
    def from_settings(
        cls, settings: Settings | None = None, *, engine: Engine | None = None
    ) -> Self:
        """Build it from the settings; without any, from the environment. Nothing connects yet.

        Args:
            settings: Other settings than the environment's.
            engine: Share this one instead of making one; it is then yours to dispose of.

        Raises:
            SettingsError: A setting is missing, unknown or malformed.
            InvalidOptions: `engine` is asyncio's, or leads to something else than Postgres.
            ImportError: There is neither psycopg nor psycopg2.
        """
        chosen = settings or load_settings()
        if engine is not None:
            refuse_other_engine(engine)
            return cls(engine, chosen)
        client = cls(make_engine(chosen.require_database()), chosen)
        client._owned = client._db.engine
        return client

    def close(self) -> None:
        """Push what is left, for two seconds at most, and give the connections back."""
        if not self._is_open:
            return
        self._is_open = False
        forks.forget(self)
        atexit.unregister(self.close)
        close_outlet(self._outlet)
        self._pusher.stop()
        self._redis.close()
        self._hints.close()
        if self._owned is not None:
            self._db.dispose()

    def __enter__(self) -> Self:
        self._refuse_if_closed()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @overload
    def enqueue(
        self, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]: ...

    @overload
    def enqueue(self, task: str, /, **arguments: object) -> TaskHandle[Any]: ...

    def enqueue(
        self, task: Enqueueable[Any, Any] | str, /, *args: Any, **kwargs: Any
    ) -> TaskHandle[Any]:
        """Enqueue one task in a transaction of its own: when this returns, it is committed.

        A task that is ``durable=False`` is pushed to Redis instead.

        Raises:
            EnqueueError: The arguments or options do not fit; nothing was enqueued.
            SchemaError: Our tables are not there, or our role may not write into them.
            ServerUnreachable: Postgres did not answer (the task may be there), or the task is
                ``durable=False`` and Redis did not.
            ClientClosed: It was closed.
        """
        target = target_of(task)
        return self.enqueue_many(target, [target.bind(args, kwargs)])[0]

    @overload
    def enqueue_many(
        self, task: Enqueueable[Any, R], many: Sequence[Mapping[str, object]], /
    ) -> list[TaskHandle[R]]: ...

    @overload
    def enqueue_many(
        self, task: str, many: Sequence[Mapping[str, object]], /
    ) -> list[TaskHandle[Any]]: ...

    def enqueue_many(
        self, task: Enqueueable[Any, Any] | str, many: Sequence[Mapping[str, object]], /
    ) -> list[TaskHandle[Any]]:
        """Enqueue one task per element of `many`, in one transaction and few round trips.

        Raises:
            EnqueueError, SchemaError, ServerUnreachable, ClientClosed: As `enqueue`.
        """
        self._refuse_if_closed()
        request = target_of(task).request_many(dict(arguments) for arguments in many)
        if request.options.bind is not None:
            raise InvalidOptions(
                f"{request.name}: bind= is for a session of yours; this is our own"
            )
        if not many:
            return []
        if not request.durable:
            return self._rowless.push(request)
        return handles_for(request, self._written(request))

    def flush(self) -> None:
        """Return when every task announced so far was pushed, or left to the relay."""
        self._pusher.flush()

    def handle(self, task_id: UUID, name: str = "task") -> TaskHandle[Any]:
        """The handle of a task by its id, for example from an earlier process."""
        return TaskHandle(task_id, name, lambda: self, codec.from_bytes)

    def get(self, task_id: UUID) -> TaskView | None:
        """Everything about a task, its errors included; None: it is not there."""
        self._refuse_if_closed()
        stored = immediately(reading.read(self._db, task_id))
        if stored is None:
            return None
        return TaskView.of(stored, immediately(reading.read_errors(self._db, task_id)))

    def cancel(self, task_id: UUID) -> bool:
        """Cancel a task: see `Interventions.cancel`."""
        self._refuse_if_closed()
        return immediately(self._interventions.cancel(task_id))

    def retry(self, task_id: UUID) -> bool:
        """Run a failed or cancelled task again: see `Interventions.retry`."""
        self._refuse_if_closed()
        return immediately(self._interventions.retry(task_id))

    def retry_many(
        self,
        *,
        name: str | None = None,
        state: Retryable | None = None,
        queue: str | None = None,
        user_id: str | int | None = None,
        settled_before: datetime | None = None,
        limit: int | None = None,
    ) -> int:
        """Run the failed tasks again that fit everything that is given: the async `retry_many`.

        Raises:
            InvalidOptions: Nothing is given, or a value does not fit.
        """
        self._refuse_if_closed()
        user = None if user_id is None else str(user_id)
        which = Filter(
            name=name, state=state, queue=queue, user_id=user,
            settled_before=settled_before, limit=limit,
        )  # fmt: skip
        return immediately(self._interventions.retry_many(which))

    def ending(self, task_id: UUID) -> Ending | None:
        """How far a task is, as handles ask it."""
        self._refuse_if_closed()
        word = immediately(reading.ending(self._db, task_id))
        return None if word is None else Ending.of(word)

    def waiting(self, task_id: UUID) -> AbstractContextManager[Callable[[float], None]]:
        """What waits until the task may be settled, as handles ask it."""
        return blocking.waiting_for(self._hints, keys.settled_channel(str(task_id)))

    def announce(self, jobs: Sequence[Job]) -> None:
        """Push what was committed, as handles ask it."""
        self._pusher.announce(jobs)

    def _written(self, request: Request[Any]) -> WrittenTasks:
        if request.options.unique_key is not None:
            with self._db.transaction() as (connection, _):
                return write_in(connection, request, self._outlet)
        with hooks_of(request, self._outlet.queue) as hooks:
            new = rows_of(request, self._outlet, hooks.headers)
            jobs = self._insert_or_explain(new)
            hooks.written(new.ids)
        reach("enqueue_committed")
        self._pusher.announce(jobs)
        if self._events.wants(TaskEnqueued):
            self._events.emit_all(enqueued(new))
        return WrittenTasks(new.ids, self._db.engine)

    def _insert_or_explain(self, new: NewTasks) -> list[Job]:
        try:
            return self._insert_rows(new)
        except ProgrammingError as error:
            refusal = refusal_of(error, self._db.engine, self._outlet)
            if refusal is None:
                raise
            raise refusal from error

    def _insert_rows(self, new: NewTasks) -> list[Job]:
        if len(new.ids) <= ROWS_PER_STATEMENT:
            return jobs_of(immediately(enqueueing.insert(self._db, new)), new)
        jobs: list[Job] = []
        with self._db.transaction() as (_, run):
            for at in range(0, len(new.ids), ROWS_PER_STATEMENT):
                part = slice(at, at + ROWS_PER_STATEMENT)
                chunk = replace(new, ids=new.ids[part], arguments=new.arguments[part])
                jobs += jobs_of(enqueueing.insert_by(run, chunk), new)
        return jobs

    def _refuse_if_closed(self) -> None:
        if not self._is_open:
            raise ClientClosed("this uow.sync.TaskClient was closed: make another one")

    def begin_anew(self) -> None:
        """In a process that was just forked: what leads to servers is the parent's."""
        self._pusher.begin_anew()
        for redis in (self._redis, self._hints):
            redis.connection_pool.reset()
        if self._owned is not None:
            self._owned.dispose(close=False)
