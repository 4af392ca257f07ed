"""What the caller holds after enqueueing: `uow.TaskHandle` with plain methods."""

import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from uow.db.models import TaskState
from uow.errors import TaskNotFound
from uow.tasks.handle import POLL_SECONDS, Ending, SyncReader, result_in

R_co = TypeVar("R_co", covariant=True)


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
        reader: Callable[[], SyncReader],
        decode: Callable[[bytes], R_co],
        *,
        created: bool = True,
    ) -> None:
        self.id = task_id
        self.name = name
        self.created = created
        self._reader = reader
        self._decode = decode

    def status(self) -> TaskState:
        """Where the task is on its way.

        Raises:
            TaskNotFound: It is not there (yet: was its transaction committed?).
            ClientClosed: No `uow.sync.TaskClient` is open in this process.
        """
        return self._ending().state

    def result(self, timeout: float | None = None) -> R_co:
        """Wait until the task is settled and return what its function returned.

        Reads Postgres; a hint over Redis only shortens the wait. It blocks its thread.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Raises:
            TaskFailed: It failed for good; has the error's type, message and traceback.
            TaskCancelled: It was cancelled.
            TaskNotFound: It is not there.
            TimeoutError: It was not settled in time; it goes on.
            InvalidResult: The result does not fit the function's annotation any more.
            ClientClosed: No `uow.sync.TaskClient` is open in this process.
        """
        return result_in(self._wait_until_settled(timeout), self, self._decode)

    def cancel(self) -> bool:
        """Settle the task as cancelled, at once and for good; False: it was settled already.

        Raises:
            InvalidOptions: It is ``durable=False``.
            ClientClosed: No `uow.sync.TaskClient` is open in this process.
        """
        return self._reader().cancel(self.id)

    def retry(self) -> bool:
        """Run the task again, at once; False: it is neither failed nor cancelled.

        Raises:
            UniqueKeyTaken: Another task has its unique key.
            TaskNotFound: It is not there.
            InvalidOptions: It is ``durable=False``.
            ClientClosed: No `uow.sync.TaskClient` is open in this process.
        """
        return self._reader().retry(self.id)

    def _wait_until_settled(self, timeout: float | None) -> Ending:
        until = math.inf if timeout is None else time.monotonic() + timeout
        ending = self._ending()
        if ending.state.settled:
            return ending
        pause, longest = POLL_SECONDS
        with self._reader().waiting(self.id) as wait:
            while not (ending := self._ending()).state.settled:
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{self!r} was not settled within {timeout} s")
                wait(min(pause, left))
                pause = min(pause * 2, longest)
        return ending

    def _ending(self) -> Ending:
        ending = self._reader().ending(self.id)
        if ending is None:
            raise TaskNotFound(f"{self!r} is not there: was its transaction committed?")
        return ending

    def __repr__(self) -> str:
        return f"<task {self.name} {self.id}>"
