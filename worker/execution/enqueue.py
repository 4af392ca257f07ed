"""Writes the row in the caller's transaction.

If that transaction commits, the task will run; if it rolls back, the task never existed. The
statement names our schema itself, so any `AsyncSession` of the database will do.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, ParamSpec, TypeVar
from uuid import UUID, uuid4

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from worker.broker import codec
from worker.broker.scripts import Job
from worker.clock import milliseconds, utcnow
from worker.db.queries import queries_for
from worker.errors import ClientClosed, InvalidOptions
from worker.execution.handle import Reader, TaskHandle
from worker.execution.options import Options
from worker.execution.pusher import push_after_commit
from worker.failpoints import reach
from worker.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


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
    def request_many(self, many: list[dict[str, object]]) -> Request[R]:
        """What enqueueing one task per element of `many` asks for."""

    async def enqueue(
        self, session: AsyncSession, /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]:
        """Write a task in the caller's transaction: it runs if that commits.

        Raises:
            EnqueueError: The arguments or options do not fit, the name is unknown, or the task is
                `durable=False`; nothing was written.
        """
        request = self.request_many([self.bind(args, kwargs)])
        return (await enqueue_in(session, request))[0]

    async def enqueue_many(
        self, session: AsyncSession, many: Iterable[Mapping[str, object]], /
    ) -> list[TaskHandle[R]]:
        """Write one task per element of `many` (arguments by name), all in one statement.

        Raises:
            EnqueueError: As `enqueue`, or there is a unique key and more than one task.
        """
        return await enqueue_in(session, self.request_many([dict(one) for one in many]))


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where this process's tasks go: the part of the settings that enqueueing needs.

    Attributes:
        announce: Takes the jobs whose rows are committed; None: the relay finds them.
        reader: What handles ask; None: nobody.
    """

    schema: str
    queue: str
    max_payload_bytes: int
    announce: Callable[[list[Job]], None] | None = None
    reader: Reader | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Outlet":
        """An outlet without a pusher."""
        return cls(settings.database_schema, settings.queue, settings.max_payload_bytes)


_open: list[Outlet] = []


def open_outlet(outlet: Outlet) -> None:
    """Make `outlet` the process's: what an open `TaskClient` and a worker do."""
    _open.append(outlet)


def close_outlet(outlet: Outlet) -> None:
    """Undo `open_outlet`."""
    _open.remove(outlet)


def current_outlet() -> Outlet:
    """The process's outlet; without an open one, what the environment says."""
    return _open[-1] if _open else _outlet_of_environment()


@cache
def _outlet_of_environment() -> Outlet:
    return Outlet.from_settings(load_settings())


async def enqueue_in(
    session: AsyncSession, request: Request[R], outlet: Outlet | None = None
) -> list[TaskHandle[R]]:
    """Write tasks in `session`'s transaction; their push follows the outermost COMMIT.

    Raises:
        InvalidOptions: The task is `durable=False`: it has no row that could be rolled back. Or
            several tasks have one unique key.
        PayloadTooLarge: The arguments are too large.
    """
    _refuse_without_row(request)
    if not request.arguments:
        return []
    outlet = outlet or current_outlet()
    ids, parameters = insertion(request, outlet)
    queries = queries_for(outlet.schema)
    while not (rows := (await session.execute(queries.insert, parameters)).all()):
        keys = {key: parameters[key] for key in ("unique_key", "waiting_key")}
        holder = await session.scalar(queries.find_holder, keys)
        if holder is not None:
            return [handle_for(request, holder, outlet, created=False)]
        # The holder was settled, or started, between the two statements: the key is free.
    reach("enqueue_written")
    if outlet.announce is not None:
        connection = (await session.connection()).sync_connection
        assert connection is not None  # noqa: S101 - the statement above ran on it
        push_after_commit(session, connection, jobs_of(rows, parameters), outlet.announce)
    return [handle_for(request, task_id, outlet) for task_id in ids]


def _refuse_without_row(request: Request[Any]) -> None:
    if not request.durable:
        raise InvalidOptions(
            f"{request.name} is durable=False, so it has no row to write in your transaction: "
            "use client.enqueue(…), or make it durable"
        )


def insertion(request: Request[Any], outlet: Outlet) -> tuple[list[UUID], dict[str, object]]:
    """Ids for the tasks of `request`, and the parameters of the statement that writes them."""
    options = request.options
    if options.unique_key is not None and len(request.arguments) > 1:
        raise InvalidOptions(f"{request.name}: one unique_key cannot be that of several tasks")
    for arguments in request.arguments:
        codec.check_size(arguments, outlet.max_payload_bytes)
    ids = [uuid4() for _ in request.arguments]
    return ids, {
        "ids": ids,
        "arguments": [arguments.decode() for arguments in request.arguments],
        "name": request.name,
        "queue": options.queue or outlet.queue,
        "priority": options.priority or 0,
        "user_id": options.user_id,
        "unique_key": options.unique_key if options.unique == "unsettled" else None,
        "waiting_key": options.unique_key if options.unique == "waiting" else None,
        "run_at": options.run_at,
        "delay": options.delay or 0.0,
        "announced": outlet.announce is not None,
    }


def jobs_of(rows: Sequence[Row[Any]], parameters: dict[str, Any]) -> list[Job]:
    """The jobs to push for the rows that were written; what is due much later stays in Postgres."""
    name, queue, priority = (parameters[key] for key in ("name", "queue", "priority"))
    now = milliseconds(utcnow())
    return [
        Job(str(row.id), queue, row.due_ms, priority,
            codec.durable_payload(name, str(row.id), now), row.due)
        for row in rows
        if row.near
    ]  # fmt: skip


def handle_for(
    request: Request[R], task_id: UUID, outlet: Outlet, *, created: bool = True
) -> TaskHandle[R]:
    """The handle of a task of `request`; it asks whichever client is open when it is used."""
    return TaskHandle(task_id, request.name, current_reader, request.decode, created=created)


def current_reader() -> Reader:
    """What handles ask.

    Raises:
        ClientClosed: No `TaskClient` is open in this process.
    """
    reader = current_outlet().reader
    if reader is None:
        raise ClientClosed(
            "this needs an open client: async with TaskClient.from_settings() as client: …"
        )
    return reader
