"""Rowless tasks of a test: what would be in Redis is kept in memory, for as long as the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from uow.broker import codec
from uow.clock import utcnow
from uow.db.models import TaskState
from uow.errors import InvalidOptions, TaskFailed
from uow.ids import new_ids
from uow.tasks.enqueue import Request, hooks_of
from uow.tasks.handle import Ending, TaskHandle
from uow.tasks.headers import encode_headers
from uow.tasks.outcome import Cancelled, Completed, Failed, HandedBack, Outcome, Retrying, Snoozed
from uow.telemetry.description import describe
from uow.testing.rows import EnqueuedTask

R = TypeVar("R")


class RowlessJobs:
    """Takes what `TaskClient.enqueue` pushes, and answers its handles."""

    def __init__(self, queue: str, most_bytes: int) -> None:
        self._queue = queue
        self._most_bytes = most_bytes
        self._jobs: dict[UUID, EnqueuedTask] = {}
        self._endings: dict[UUID, Ending] = {}

    @property
    def known(self) -> list[EnqueuedTask]:
        """Them all, in the order in which they were asked for."""
        return list(self._jobs.values())

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Forget at its end whatever was kept in the block."""
        before = dict(self._jobs)
        try:
            yield
        finally:
            self._jobs = before

    async def push(self, request: Request[R]) -> list[TaskHandle[R]]:
        """Keep the tasks of `request`.

        Raises:
            PayloadTooLarge: The arguments are too large.
        """
        options, handles = request.options, []
        queue = options.queue or self._queue
        ids = new_ids(len(request.arguments))
        with hooks_of(request, queue) as hooks:
            headers = encode_headers(f"{request.name}:", hooks.headers)
            hooks.written(ids)
        due = options.run_at or utcnow() + timedelta(seconds=options.delay or 0.0)
        for id_, written in zip(ids, request.arguments, strict=True):
            codec.check_size(written, self._most_bytes)
            self._jobs[id_] = EnqueuedTask(
                id_, request.name, written.decode(), TaskState.QUEUED,
                queue, options.priority or 0, None, None, due, 0, 0, headers,
            )  # fmt: skip
            handles.append(TaskHandle(id_, request.name, lambda: self, request.decode))
        return handles

    def next_due(self, now: datetime, others: Iterable[str]) -> EnqueuedTask | None:
        """The one that is to run next; one that failed is tried again at once."""
        left_alone = set(others)
        due = [one for one in self._jobs.values()
               if not one.settled and one.name not in left_alone
               and (one.run_at <= now or one.state is TaskState.RETRYING)]  # fmt: skip
        return min(due, key=lambda one: (one.run_at, -one.priority), default=None)

    def note(self, task: EnqueuedTask, outcome: Outcome) -> None:
        """An attempt of it has ended."""
        tries, state, run_at = task.tries, TaskState.RETRYING, task.run_at
        match outcome:
            case Completed(result):
                state = TaskState.SUCCEEDED
                self._endings[task.id] = Ending(state, result)
            case Failed(error) | Cancelled(error):
                state, tries = TaskState.FAILED, tries + 1
                self._endings[task.id] = Ending(state, error=TaskFailed(**describe(error)))
            case Retrying(delay):
                tries, run_at = tries + 1, utcnow() + timedelta(seconds=delay)
            case Snoozed(delay) | HandedBack(delay):
                state, run_at = TaskState.SCHEDULED, utcnow() + timedelta(seconds=delay)
        self._jobs[task.id] = replace(
            task, state=state, tries=tries, attempt=task.attempt + 1, run_at=run_at
        )

    async def ending(self, task_id: UUID) -> Ending | None:
        """How far it is."""
        return self._endings.get(task_id) or Ending(self._jobs[task_id].state)

    @contextlib.asynccontextmanager
    async def hint(self, task_id: UUID) -> AsyncIterator[asyncio.Event]:
        """Refused: nobody runs it.

        Raises:
            AssertionError: Always.
        """
        yield nobody_runs(self._jobs[task_id])

    async def cancel(self, task_id: UUID) -> bool:
        """Refused, as in reality.

        Raises:
            InvalidOptions: There is no row that could say so.
        """
        raise InvalidOptions(f"task {task_id} is durable=False: it cannot be cancelled")

    async def retry(self, task_id: UUID) -> bool:
        """Refused, as in reality.

        Raises:
            InvalidOptions: There is no row to run it from.
        """
        raise InvalidOptions(f"task {task_id} is durable=False: it cannot run again")


def nobody_runs(task: object) -> asyncio.Event:
    """What is said to who waits for a result.

    Raises:
        AssertionError: Always.
    """
    raise AssertionError(
        f"{task} is not settled, and in a test nobody runs it: await tasks.run(…), or "
        "await tasks.drain(), before you ask for its result"
    )
