"""The slots of a worker: in each runs one held job, as an asyncio task of its own."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from uow.attempt.running import Held
from uow.telemetry import subject
from uow.telemetry.sentry import isolated
from uow.telemetry.subject import Subject

logger = logging.getLogger(__name__)


class Slots:
    """They fill and empty themselves.

    Args:
        tasks: What runs, by job id: arq's own dict, which arq's engine may fill, too.
        size: Says how many slots there are.
        on_free: Called when a slot is free again.
        on_unfinished: Called when a job has left its slot and nobody has finished it; with whether
            that is because the worker was told to stop.

    Attributes:
        starting: How many jobs are claimed and have no slot yet.
        stopping: The worker was told to stop: what is interrupted from now on burns no try.
    """

    def __init__(
        self,
        tasks: dict[str, asyncio.Task[Any]],
        size: Callable[[], int],
        on_free: Callable[[], None],
        on_unfinished: Callable[[Held, bool], None],
    ) -> None:
        self._size = size
        self.starting = 0
        self.stopping = False
        self._tasks = tasks
        self._on_free = on_free
        self._on_unfinished = on_unfinished

    @property
    def free(self) -> int:
        """How many jobs may be started now."""
        return self._size() - len(self._tasks) - self.starting

    def are_empty(self) -> bool:
        """Whether nothing runs, or is about to."""
        return not self._tasks and not self.starting

    def is_busy(self) -> bool:
        """Whether more is likely to end in a moment."""
        return len(self._tasks) > self._size() / 4

    def spawn(self, held: Held, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in a slot; what is logged in it is about the job."""
        about = Subject(held.job_id, held.queue, task_id=held.task_id)
        token = subject.enter(about)  # for the context that the task copies, and no longer
        task = held.runs = self._tasks[held.job_id] = asyncio.create_task(isolated(work))
        subject.leave(token)
        task.add_done_callback(partial(self._leave, held, about))

    def watch(self) -> None:
        """Have a slot free when its task ends, whoever has started it."""
        for job_id, task in self._tasks.items():
            task.add_done_callback(partial(self._forget, job_id))

    async def emptied(self) -> None:
        """Wait for what still runs."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    def _leave(self, held: Held, about: Subject, task: asyncio.Task[None]) -> None:
        self._forget(held.job_id, task)
        self._on_free()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("job %s: an error of the worker's own", held.job_id,
                         exc_info=error, extra=about.fields())  # fmt: skip
        if not held.ends and (task.cancelled() or error is not None):
            self._on_unfinished(held, task.cancelled() and self.stopping)

    def _forget(self, job_id: str, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(job_id) is task:
            del self._tasks[job_id]
