"""Rowless tasks (``durable=False``): pushed to Redis, read back from Redis."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from uuid import UUID

from arq import jobs
from arq.connections import ArqRedis

from uow.broker import codec
from uow.broker.redis import AWAY
from uow.broker.refusals import EntriesRefused
from uow.broker.scripts import Job
from uow.clock import milliseconds, utcnow
from uow.db.models import TaskState
from uow.errors import InvalidOptions, ServerUnreachable, TaskFailed
from uow.events.spine import Spine
from uow.events.tasks import TaskEnqueued
from uow.ids import new_ids
from uow.settings.environment import Settings
from uow.tasks.enqueue import Request, hooks_of, seconds_until
from uow.tasks.handle import Ending, TaskHandle
from uow.tasks.headers import encode_headers

R = TypeVar("R")

Push = Callable[[Iterable[Job]], Awaitable[object]]
"""`scripts.push`, by some connection."""

_STATES = {
    jobs.JobStatus.deferred: TaskState.SCHEDULED,
    jobs.JobStatus.queued: TaskState.QUEUED,
    jobs.JobStatus.in_progress: TaskState.RUNNING,
}


class RowlessTasks:
    """Pushes tasks that live in Redis alone, and answers their handles."""

    def __init__(self, push: Push, redis: ArqRedis, settings: Settings, events: Spine) -> None:
        self._push = push
        self._events = events
        self._redis = redis
        self._queue = settings.queue
        self._max_payload_bytes = settings.max_payload_bytes

    async def push(self, request: Request[R]) -> list[TaskHandle[R]]:
        """Push the tasks of `request`.

        Raises:
            InvalidOptions: What lies at the queue's name is no queue.
            ServerUnreachable: Redis did not answer; some of the tasks may be there.
            PayloadTooLarge: The arguments are too large.
        """
        ids, reader = await self.send(request)

        def reader_of_all() -> RedisReader:
            return reader

        return [TaskHandle(id_, request.name, reader_of_all, request.decode) for id_ in ids]

    async def send(self, request: Request[Any]) -> tuple[list[UUID], "RedisReader"]:
        """`push`: the ids of the tasks, and what tells how far they are."""
        for arguments in request.arguments:
            codec.check_size(arguments, self._max_payload_bytes)
        ids = new_ids(len(request.arguments))
        queue = request.options.queue or self._queue
        with hooks_of(request, queue) as hooks:
            await self._push_or_explain(request, queue, _jobs(request, ids, queue, hooks.headers))
            hooks.written(ids)
        if self._events.wants(TaskEnqueued):
            self._events.emit_all(_enqueued(request, ids, queue, hooks.headers))
        return ids, RedisReader(self._redis, queue)

    async def _push_or_explain(
        self, request: Request[Any], queue: str, jobs: Iterator[Job]
    ) -> None:
        try:
            await self._push(jobs)
        except EntriesRefused as error:
            raise InvalidOptions(
                f"{request.name}: Redis refuses it in {queue!r}: {error}"
            ) from error
        except AWAY as error:
            raise ServerUnreachable(
                f"{request.name} is durable=False and Redis did not take it ({error})"
            ) from error


class RedisReader:
    """What the handle of a rowless task asks: arq's own keys."""

    def __init__(self, redis: ArqRedis, queue: str) -> None:
        self._redis = redis
        self._queue = queue

    async def ending(self, task_id: UUID) -> Ending | None:
        """How far the task is, as long as arq keeps its result."""
        job = jobs.Job(str(task_id), self._redis, self._queue, _deserializer=codec.deserialize)
        info = await job.result_info()
        if info is None:
            state = _STATES.get(await job.status())
            return None if state is None else Ending(state)
        if info.success:
            return Ending(TaskState.SUCCEEDED, codec.to_bytes(info.result))
        error = info.result
        if not isinstance(error, TaskFailed):
            error = TaskFailed(type(error).__name__, str(error))
        return Ending(TaskState.FAILED, error=error)

    @contextlib.asynccontextmanager
    async def hint(self, task_id: UUID) -> AsyncIterator[asyncio.Event]:
        """No hints here: the result is looked for from time to time."""
        yield asyncio.Event()

    async def cancel(self, task_id: UUID) -> bool:
        """Refused.

        Raises:
            InvalidOptions: There is no row that could say so.
        """
        raise InvalidOptions(
            f"task {task_id} is durable=False: it has no row that could be cancelled"
        )

    async def retry(self, task_id: UUID) -> bool:
        """Refused.

        Raises:
            InvalidOptions: There is no row to run it from.
        """
        raise InvalidOptions(
            f"task {task_id} is durable=False: it has no row from which it could run again"
        )


def _enqueued(
    request: Request[Any], ids: list[UUID], queue: str, headers: Mapping[str, str]
) -> list[TaskEnqueued]:
    delay = seconds_until(request.options.run_at, request.options.delay or 0.0)
    return [
        TaskEnqueued(
            id=None, job_id=str(id_), name=request.name, queue=queue, user_id=None,
            headers=headers, delay=delay,
        )
        for id_ in ids
    ]  # fmt: skip


def _jobs(
    request: Request[Any], ids: list[UUID], queue: str, headers: Mapping[str, str]
) -> Iterator[Job]:
    options, now = request.options, milliseconds(utcnow())
    written = encode_headers(f"{request.name}:", headers)
    due = milliseconds(options.run_at) if options.run_at else now
    due += int((options.delay or 0) * 1000)
    for id_, arguments in zip(ids, request.arguments, strict=True):
        payload = codec.rowless_payload(request.name, arguments, now, written)
        yield Job(str(id_), queue, due, options.priority or 0, payload, due <= now)
