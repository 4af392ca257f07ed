"""Writes the row in the caller's transaction.

If that transaction commits, the task will run; if it rolls back, the task never existed. The
statement names our schema itself, so any `AsyncSession` or `AsyncConnection` of the database will
do.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from uow.broker import codec
from uow.broker.scripts import Job
from uow.clock import milliseconds, utcnow
from uow.db.enqueueing import Inserted, NewTasks, find_holder_by, insert_by
from uow.db.statement import Run, run_on
from uow.errors import InvalidOptions, UniqueKeyTaken
from uow.events.tasks import TaskEnqueued
from uow.failpoints import reach
from uow.ids import new_ids
from uow.tasks.binding import (
    Caller,
    bind_of,
    connection_of,
    place_of,
    refuse_another,
    refuse_autocommit,
    refuse_unless_postgres,
)
from uow.tasks.handle import TaskHandle
from uow.tasks.headers import decode_headers, encode_headers
from uow.tasks.hooks import Hooks
from uow.tasks.options import Options
from uow.tasks.outlets import Outlet, outlet_of, reader_of
from uow.tasks.pusher import Following, call_after_commit, call_after_commit_on
from uow.tasks.refusal import refusal_of

P = ParamSpec("P")
R = TypeVar("R")

LOOKS_FOR_A_HOLDER = 20
"""How often a unique key may be let go of between our insert and our look at who has it."""


@dataclass(frozen=True, slots=True)
class Request(Generic[R]):
    """What is asked for: some tasks of one name with the same options.

    Raises:
        InvalidOptions: One unique key for more than one task.
    """

    name: str
    arguments: Sequence[bytes]
    options: Options
    decode: Callable[[bytes], R]
    durable: bool = True

    def __post_init__(self) -> None:
        if self.options.unique_key is not None and len(self.arguments) > 1:
            raise InvalidOptions(
                f"{self.name}: unique_key={self.options.unique_key!r} allows one unsettled task, "
                f"not {len(self.arguments)}: enqueue each with a key of its own"
            )


class Enqueueable(ABC, Generic[P, R]):
    """What can be enqueued: a task function, one with options, or one by its name."""

    @abstractmethod
    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Arguments by name."""

    @abstractmethod
    def request_many(self, many: Iterable[dict[str, object]]) -> Request[R]:
        """What enqueueing one task per element of `many` asks for."""

    async def enqueue(self, session: Caller, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Write a task in the caller's transaction: it runs if that commits.

        Args:
            session: An `AsyncSession`, an `async_scoped_session` or an `AsyncConnection`.
            *args: Of the task function.
            **kwargs: Of the task function.

        Raises:
            EnqueueError: The arguments or options do not fit, the name is unknown, the task is
                `durable=False`, or `session` is something else; nothing was written.
            SchemaError: Our tables are not there, or the session's role may not write into them.
        """
        request = self.request_many([self.bind(args, kwargs)])
        return (await enqueue_in(session, request))[0]

    async def enqueue_many(
        self, session: Caller, many: Iterable[Mapping[str, object]], /
    ) -> list[TaskHandle[R]]:
        """Write one task per element of `many` (arguments by name), all in one statement.

        Raises:
            EnqueueError: As `enqueue`, or there is a unique key and more than one task.
            SchemaError: As `enqueue`.
        """
        return await enqueue_in(session, self.request_many(dict(one) for one in many))


async def enqueue_in(
    session: Caller, request: Request[R], outlet: Outlet | None = None
) -> list[TaskHandle[R]]:
    """Write tasks in `session`'s transaction; their push follows the outermost COMMIT.

    Args:
        outlet: Instead of the one that the session's engine leads to.

    Raises:
        AmbiguousClient: Several clients are open, and the session's engine does not tell which.
        InvalidOptions: The task is `durable=False`: it has no row that could be rolled back. Or
            several tasks have one unique key, or the session several connections.
        PayloadTooLarge: The arguments are too large.
        SchemaError: Our tables are not there, or the session's role may not write into them.
        SessionError: The session has ended.
        UniqueKeyTaken: Its unique key changes hands faster than we can look.
    """
    refuse_rowless(request)
    place = place_of(session)
    if not request.arguments:
        return []
    written = await place.run_sync(write_in, request, outlet)
    return handles_for(request, written.ids, written.engine, created=written.created)


@dataclass(frozen=True, slots=True)
class WrittenTasks:
    """Tasks whose rows are in the caller's transaction.

    Attributes:
        engine: What it is written through.
        created: False: it was there, an unsettled task with the same unique key.
    """

    ids: Sequence[UUID]
    engine: Engine
    created: bool = True


def write_in(
    place: Session | Connection, request: Request[Any], outlet: Outlet | None = None
) -> WrittenTasks:
    """Write tasks in the transaction of `place`: `enqueue_in` without asyncio.

    An `AsyncSession` runs it in its greenlet.
    """
    if isinstance(place, Connection):
        return _write_on_connection(place, request, outlet)
    return _write(place, request, outlet)


def _write(session: Session, request: Request[Any], outlet: Outlet | None) -> WrittenTasks:
    bind = bind_of(session, request.options.bind)
    refuse_unless_postgres(bind)
    outlet = outlet or outlet_of(bind.engine)
    with hooks_of(request, outlet.queue) as hooks:
        new = rows_of(request, outlet, hooks.headers)
        connection = connection_of(session, bind, request.options.bind)
        written, jobs = _insert(connection, request, outlet, new)
        hooks.written(written.ids)
    for following in _following(outlet, new, written, jobs):
        call_after_commit(session, connection, following)
    return written


def _write_on_connection(
    connection: Connection, request: Request[Any], outlet: Outlet | None
) -> WrittenTasks:
    refuse_another(connection, request.options.bind)
    refuse_unless_postgres(connection)
    refuse_autocommit(connection)
    outlet = outlet or outlet_of(connection.engine)
    with hooks_of(request, outlet.queue) as hooks:
        new = rows_of(request, outlet, hooks.headers)
        written, jobs = _insert(connection, request, outlet, new)
        hooks.written(written.ids)
    for following in _following(outlet, new, written, jobs):
        call_after_commit_on(connection, following)
    return written


def _following(
    outlet: Outlet, new: NewTasks, written: WrittenTasks, jobs: list[Job]
) -> Iterator[Following]:
    """What is to follow the COMMIT."""
    if outlet.announce is not None and jobs:
        yield partial(outlet.announce, jobs)
    if outlet.events is not None and outlet.events.wants(TaskEnqueued) and written.created:
        yield partial(outlet.events.emit_all, enqueued(new))


def seconds_until(run_at: datetime | None, delay: float) -> float:
    """Until a task is due that was just asked for; `run_at` wins."""
    return delay if run_at is None else max((run_at - utcnow()).total_seconds(), 0.0)


def enqueued(new: NewTasks) -> list[TaskEnqueued]:
    """What is told of tasks that were written."""
    delay, headers = seconds_until(new.run_at, new.delay), decode_headers(new.headers)
    return [
        TaskEnqueued(
            id=id_, job_id=str(id_), name=new.name, queue=new.queue, user_id=new.user_id,
            headers=headers, delay=delay,
        )
        for id_ in new.ids
    ]  # fmt: skip


def _insert(
    connection: Connection, request: Request[Any], outlet: Outlet, new: NewTasks
) -> tuple[WrittenTasks, list[Job]]:
    try:
        rows, holder = insert_or_find(partial(run_on, connection, outlet.schema), request, new)
    except ProgrammingError as error:
        refusal = refusal_of(error, connection.engine, outlet)
        if refusal is None:
            raise
        raise refusal from error
    if holder is not None:
        return WrittenTasks([holder], connection.engine, created=False), []
    return WrittenTasks(new.ids, connection.engine), jobs_of(rows, new)


def insert_or_find(
    run: Run, request: Request[Any], new: NewTasks
) -> tuple[list[Inserted], UUID | None]:
    """Write the rows of `request`; or find who has their unique key.

    Raises:
        UniqueKeyTaken: It changes hands faster than we can look.
    """
    for _ in range(LOOKS_FOR_A_HOLDER):
        if rows := insert_by(run, new):
            reach("enqueue_written")
            return rows, None
        if (holder := find_holder_by(run, new)) is not None:
            return rows, holder
        # The holder was settled, or started, between the two statements: the key is free.
    raise UniqueKeyTaken(f"{request.name}: its unique key changes hands all the time")


def refuse_rowless(request: Request[Any]) -> None:
    """Raise if the tasks have no row.

    Raises:
        InvalidOptions: They have none.
    """
    if not request.durable:
        raise InvalidOptions(
            f"{request.name} is durable=False, so it has no row to write in your transaction: "
            "use client.enqueue(…), or make it durable"
        )


def hooks_of(request: Request[Any], queue: str) -> Hooks:
    """What is around the writing of the tasks of `request`, and says what travels with them.

    Args:
        queue: Theirs, unless they have one of their own.
    """
    options, count = request.options, len(request.arguments)
    return Hooks(request.name, options.queue or queue, options.user_id, options.headers, count)


def rows_of(request: Request[Any], outlet: Outlet, headers: Mapping[str, str]) -> NewTasks:
    """The rows of the tasks of `request`, with ids for them."""
    options = request.options
    for arguments in request.arguments:
        codec.check_size(arguments, outlet.max_payload_bytes)
    return NewTasks(
        ids=new_ids(len(request.arguments)),
        arguments=[arguments.decode() for arguments in request.arguments],
        name=request.name,
        queue=options.queue or outlet.queue,
        priority=options.priority or 0,
        user_id=options.user_id,
        unique_key=options.unique_key if options.unique == "unsettled" else None,
        waiting_key=options.unique_key if options.unique == "waiting" else None,
        run_at=options.run_at,
        delay=options.delay or 0.0,
        announced=outlet.announce is not None,
        headers=encode_headers(f"{request.name}:", headers),
    )


def jobs_of(rows: Iterable[Inserted], new: NewTasks) -> list[Job]:
    """The jobs to push for the rows that were written; what is due much later stays in Postgres."""
    now = milliseconds(utcnow())
    jobs: list[Job] = []
    for id_, due_ms, due, near in rows:
        if near:
            job_id = str(id_)
            payload = codec.durable_payload(new.name, job_id, now)
            jobs.append(Job(job_id, new.queue, due_ms, new.priority, payload, due))
    return jobs


def handles_for(
    request: Request[R], task_ids: Iterable[UUID], engine: Engine, *, created: bool = True
) -> list[TaskHandle[R]]:
    """The handles of tasks of `request`; they ask the client that is open for the database."""
    reader = partial(reader_of, engine)
    return [
        TaskHandle(task_id, request.name, reader, request.decode, created=created)
        for task_id in task_ids
    ]
