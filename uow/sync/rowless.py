"""Rowless tasks (``durable=False``) without asyncio: pushed to Redis, read back from Redis."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from redis import Redis

from uow.broker import blocking
from uow.broker.scripts import Job
from uow.events.spine import Spine
from uow.settings.environment import Settings
from uow.sync.handle import TaskHandle
from uow.sync.immediately import immediately
from uow.tasks.enqueue import Request
from uow.tasks.handle import Ending
from uow.tasks.rowless import RedisReader, RowlessTasks

R = TypeVar("R")


class SyncRowlessTasks:
    """Pushes tasks that live in Redis alone, and answers their handles."""

    def __init__(self, redis: Redis, settings: Settings, events: Spine) -> None:
        async def push(jobs: Iterable[Job]) -> int:
            return blocking.push(redis, jobs)

        answered: Any = blocking.Answered(redis)
        self._tasks = RowlessTasks(push, answered, settings, events)

    def push(self, request: Request[R]) -> list[TaskHandle[R]]:
        """`RowlessTasks.push`."""
        ids, reader = immediately(self._tasks.send(request))
        asked = SyncRedisReader(reader)

        def reader_of_all() -> SyncRedisReader:
            return asked

        return [TaskHandle(id_, request.name, reader_of_all, request.decode) for id_ in ids]


class SyncRedisReader:
    """`RedisReader`, whose answers are there at once."""

    def __init__(self, reader: RedisReader) -> None:
        self._reader = reader

    def ending(self, task_id: UUID) -> Ending | None:
        """How far the task is, as long as arq keeps its result."""
        return immediately(self._reader.ending(task_id))

    @contextlib.contextmanager
    def waiting(self, task_id: UUID) -> Iterator[Callable[[float], None]]:
        """No hints here: the result is looked for from time to time."""
        yield time.sleep

    def cancel(self, task_id: UUID) -> bool:
        """Refused: `RedisReader.cancel`."""
        return immediately(self._reader.cancel(task_id))

    def retry(self, task_id: UUID) -> bool:
        """Refused: `RedisReader.retry`."""
        return immediately(self._reader.retry(task_id))

    def announce(self, jobs: Sequence[Job]) -> None:
        """It is pushed."""
