"""The fast worker of our tasks; `uow.fast.task_serving` knows what a task is."""

from collections.abc import Sequence
from typing import Any

from arq.typing import WorkerCoroutine
from arq.worker import Function

from uow.fast.task_serving import TaskHost, TaskServing
from uow.fast.worker import FastWorker


class TaskWorker(FastWorker):
    """Runs tasks.

    Args:
        process: What it runs in.
    """

    def __init__(
        self,
        process: TaskHost,
        functions: Sequence[Function | WorkerCoroutine] = (),
        **options: Any,
    ) -> None:
        super().__init__(functions, **options)
        self._process = process

    async def check_rights(self) -> None:
        """The process does it when it starts: our tasks need more."""

    async def start_up(self) -> None:
        """Start the process: it stands on our heart and our leases."""
        await self._process.start(self.ctx, self.custody)

    async def begin_serving(self) -> TaskServing:
        """End the former run, whose completions are its own, and begin one."""
        await self._end_serving()
        serving = TaskServing(
            self, self.custody, self.slots, self._aborts, engine=self, process=self._process
        )
        await serving.begin(self._intake.wake)
        return serving

    async def drain(self) -> None:
        """Claim no more, and wait for what runs."""
        self.slots.stopping, self.allow_pick_jobs = True, False
        if self._serving is not None:
            await self._serving.idle()
