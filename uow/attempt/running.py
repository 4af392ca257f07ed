"""What this process runs: the jobs it holds, and the asyncio tasks that run them."""

import asyncio
import logging
import os
import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

from uow.broker.claims import NO_RESULT, Action, Finish, back_to
from uow.interruption import interrupt
from uow.telemetry.subject import fields_of

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Held:
    """A job that this process holds.

    Attributes:
        score: Its place in the queue when it was delivered.
        payload: What to put back should Redis lose it; empty: nothing.
        task_id: Its row; None: it has none, or none is known yet.
        token: What is written into its lease.
        enqueued_ms: When it was enqueued; 0: not read yet.
        runs: The asyncio task that runs it; None: not yet.
        ends: Its attempt has ended; what Redis misses of it may just have been finished.
    """

    job_id: str
    queue: str
    score: int
    payload: bytes
    task_id: UUID | None = None
    token: str = ""
    enqueued_ms: int = 0
    runs: "asyncio.Task[Any] | None" = None
    ends: bool = False

    @property
    def place(self) -> int:
        """The number of a `Finish` that puts the job back to where it stood in the queue."""
        return back_to(self.score)

    def finish(self, action: Action, number: int = NO_RESULT, payload: bytes = b"") -> Finish:
        """What is to become of the job; see `Finish`."""
        return Finish(self.queue, self.job_id, self.token, action, number, payload)

    def fields(self) -> dict[str, object]:
        """The ``extra`` of a line about it that is logged outside of its slot."""
        return fields_of(task_id=self.task_id, job_id=self.job_id, queue=self.queue)

    def back(self, action: Action) -> Finish:
        """It goes back to where it stood in its queue."""
        return self.finish(action, self.place, self.payload)


class Running:
    """The held jobs of this process, by job id.

    Only the event loop's thread changes it; the heart's thread reads.
    """

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def add(self, held: Held) -> None:
        """From now on the job is held."""
        self._held[held.job_id] = held

    def remove(self, job_id: str) -> None:
        """The job is not held any more."""
        self._held.pop(job_id, None)

    def get(self, job_id: str) -> Held | None:
        """The job, if it is held."""
        return self._held.get(job_id)

    def all(self) -> list[Held]:
        """Every held job; in one step, so that another thread may ask."""
        return list(self._held.values())

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._held

    def __len__(self) -> int:
        return len(self._held)

    def task_ids(self) -> list[UUID]:
        """The tasks whose jobs are held."""
        return [held.task_id for held in self.all() if held.task_id is not None]

    def describe(self, runs: "asyncio.Task[Any] | None") -> str:
        """What an asyncio task of this process runs, for a message."""
        held = next((held for held in self.all() if held.runs is runs), None)
        return "the worker itself" if held is None else f"task {held.task_id or held.job_id}"

    def interrupt(self, task_id: str) -> None:
        """Stop the attempt that runs the task `task_id` in this process, if there is one.

        By the task's id and not the job's: a stock client may use a job id again.
        """
        for held in self.all():
            if str(held.task_id) == task_id and held.runs is not None:
                logger.info("task %s was cancelled while it ran", task_id, extra=held.fields())
                interrupt(held.runs)

    def interrupt_all(self) -> None:
        """Stop every attempt of this process: each hands its job back."""
        for held in self.all():
            if held.runs is not None:
                interrupt(held.runs)


class Leases(Protocol):
    """Who keeps the leases of what runs; each worker has its own way."""

    def queue_of(self, job_id: str) -> str:
        """The queue that a delivered job came from."""

    def holds(self, job_id: str) -> bool:
        """Whether this process runs the job already, so that its delivery is one too many."""

    def holding(self, held: Held) -> AbstractAsyncContextManager[None]:
        """Hold the job while the block, in the asyncio task that is to be interrupted, runs."""


def process_name() -> str:
    """A name for this process that no other has or has had."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
