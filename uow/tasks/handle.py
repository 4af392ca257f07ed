"""What the caller holds after enqueueing: the task's id, and the way to its result."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import UUID

from uow.broker import codec
from uow.broker.scripts import Job
from uow.db.models import TaskState
from uow.db.reading import AttemptError as AttemptError
from uow.db.reading import LastWord, StoredTask
from uow.errors import TaskCancelled, TaskFailed, TaskNotFound

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

POLL_SECONDS = (0.05, 1.0)
"""First and longest pause between two looks when no hint comes; doubled each time."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as it stands in Postgres. `args`, `result` and `progress` are JSON values."""

    id: UUID
    name: str
    state: TaskState
    args: dict[str, Any]
    result: Any
    progress: dict[str, Any] | None
    queue: str
    priority: int
    user_id: str | None
    unique_key: str | None
    attempt: int
    tries: int
    worker: str | None
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    settled_at: datetime | None
    headers: dict[str, str]
    errors: tuple[AttemptError, ...]

    @classmethod
    def of(cls, stored: StoredTask, errors: Sequence[AttemptError]) -> Self:
        """As the rows say it."""
        columns = {one.name: getattr(stored, one.name) for one in fields(stored)}
        json = {name: codec.from_bytes(columns[name]) for name in ("args", "result", "progress")}
        json["headers"] = codec.from_bytes(stored.headers) or {}
        return cls(**{**columns, **json}, errors=tuple(errors))


@dataclass(frozen=True, slots=True)
class Ending:
    """How far a task is.

    Attributes:
        result: As JSON.
        error: Its last error, once it failed.
        reason: Why its function has cancelled it.
    """

    state: TaskState
    result: bytes | None = None
    error: TaskFailed | None = None
    reason: str | None = None

    @classmethod
    def of(cls, word: LastWord) -> Self:
        """As the row says it."""
        if word.state is TaskState.CANCELLED:
            return cls(word.state, reason=word.message)
        if word.state is not TaskState.FAILED:
            return cls(word.state, None if word.result is None else word.result.encode())
        error = TaskFailed(word.error_type or "unknown", word.message or "", word.traceback or "")
        return cls(word.state, error=error)


class Reader(Protocol):
    """What a handle asks: an open `TaskClient`."""

    async def ending(self, task_id: UUID) -> Ending | None:
        """How far the task is; None: it is not there."""

    def hint(self, task_id: UUID) -> AbstractAsyncContextManager[asyncio.Event]:
        """An event that is set when the task may have been settled; it may never be."""

    async def cancel(self, task_id: UUID) -> bool:
        """Cancel; False: it was settled already, or is not there."""

    async def retry(self, task_id: UUID) -> bool:
        """Run a failed or cancelled task again; False: it is neither."""


class SyncReader(Protocol):
    """What a handle without asyncio asks: an open `uow.sync.TaskClient`."""

    def ending(self, task_id: UUID) -> Ending | None:
        """How far the task is; None: it is not there."""

    def waiting(self, task_id: UUID) -> AbstractContextManager[Callable[[float], None]]:
        """What waits for so many seconds, or until the task may have been settled."""

    def cancel(self, task_id: UUID) -> bool:
        """Cancel; False: it was settled already, or is not there."""

    def retry(self, task_id: UUID) -> bool:
        """Run a failed or cancelled task again; False: it is neither."""

    def announce(self, jobs: Sequence[Job]) -> None:
        """Push `jobs` soon; their rows are committed."""


def result_in(ending: Ending, task: object, decode: Callable[[bytes], R]) -> R:
    """What a settled task has returned.

    Args:
        task: How it is called in a message.

    Raises:
        TaskFailed, TaskCancelled, InvalidResult: As `TaskHandle.result`.
    """
    if ending.error is not None:
        raise ending.error
    if ending.state is TaskState.CANCELLED:
        raise TaskCancelled(f"{task!r} was cancelled{_because(ending.reason)}")
    return decode(ending.result or b"null")


class TaskHandle(Generic[R_co]):
    """A task that was asked for. The id is known before the commit.

    Attributes:
        id: The task's id.
        created: False if an unsettled task with the same unique key was there; this is that task.
    """

    def __init__(
        self,
        task_id: UUID,
        name: str,
        reader: Callable[[], Reader],
        decode: Callable[[bytes], R_co],
        *,
        created: bool = True,
    ) -> None:
        self.id = task_id
        self.name = name
        self.created = created
        self._reader = reader
        self._decode = decode

    async def status(self) -> TaskState:
        """Where the task is on its way.

        Raises:
            TaskNotFound: It is not there (yet: was its transaction committed?).
            ClientClosed: No `TaskClient` is open in this process.
        """
        return (await self._ending()).state

    async def result(self, timeout: float | None = None) -> R_co:
        """Wait until the task is settled and return what its function returned.

        Reads Postgres; a hint over Redis only shortens the wait.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Raises:
            TaskFailed: It failed for good; has the error's type, message and traceback.
            TaskCancelled: It was cancelled.
            TaskNotFound: It is not there.
            TimeoutError: It was not settled in time; it goes on.
            InvalidResult: The result does not fit the function's annotation any more.
            ClientClosed: No `TaskClient` is open in this process.
        """
        try:
            async with asyncio.timeout(timeout):
                ending = await self._wait_until_settled()
        except TimeoutError:
            raise TimeoutError(f"{self!r} was not settled within {timeout} s") from None
        return result_in(ending, self, self._decode)

    async def cancel(self) -> bool:
        """Settle the task as cancelled, at once and for good; False: it was settled already.

        An attempt that runs is told, if Redis is there, and cannot commit any more.

        Raises:
            InvalidOptions: It is ``durable=False``.
            ClientClosed: No `TaskClient` is open in this process.
        """
        return await self._reader().cancel(self.id)

    async def retry(self) -> bool:
        """Run the task again, at once; False: it is neither failed nor cancelled.

        It has all its tries again; what was recorded of its earlier attempts stays.

        Raises:
            UniqueKeyTaken: Another task has its unique key.
            TaskNotFound: It is not there.
            InvalidOptions: It is ``durable=False``.
            ClientClosed: No `TaskClient` is open in this process.
        """
        return await self._reader().retry(self.id)

    async def _wait_until_settled(self) -> Ending:
        ending = await self._ending()
        if ending.state.settled:
            return ending
        pause, longest = POLL_SECONDS
        async with self._reader().hint(self.id) as hint:
            while not (ending := await self._ending()).state.settled:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await hint.wait()
                hint.clear()
                pause = min(pause * 2, longest)
        return ending

    async def _ending(self) -> Ending:
        ending = await self._reader().ending(self.id)
        if ending is None:
            raise TaskNotFound(f"{self!r} is not there: was its transaction committed?")
        return ending

    def __repr__(self) -> str:
        return f"<task {self.name} {self.id}>"


def _because(reason: str | None) -> str:
    return "" if reason is None else f": {reason}"
