"""Calls what waits for the commits of attempts, beside the slots: `ctx["task"].on_commit`."""

import asyncio
from contextvars import Context

from uow.interruption import is_interrupted
from uow.tasks.after_commit import AfterCommit

CALLBACKS_SECONDS = 30.0
"""So long the callbacks of one attempt may take. They hold nothing but themselves."""

STOPPING_SECONDS = 1.0
"""The same when the process stops, or the attempt was interrupted while its COMMIT ran: nobody
interrupts it a second time."""


class Callbacks:
    """The callbacks of this process's attempts: each attempt's are an asyncio task of their own."""

    seconds = CALLBACKS_SECONDS
    stopping_seconds = STOPPING_SECONDS

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def call(self, after_commit: AfterCommit, context: Context | None = None) -> None:
        """Call what waits for a COMMIT that is done.

        Args:
            context: The attempt's; None: the caller's, who is the attempt.
        """
        stops = context is None and is_interrupted(asyncio.current_task())
        calling = after_commit.call_all(self.stopping_seconds if stops else self.seconds)
        task = asyncio.get_running_loop().create_task(calling, context=context)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def end(self, *, in_haste: bool) -> None:
        """Wait for what runs; then interrupt it.

        Args:
            in_haste: The process was told to stop.
        """
        for patience in (
            self.stopping_seconds if in_haste else self.seconds,
            self.stopping_seconds,
        ):
            if self._running:
                await asyncio.wait(self._running, timeout=patience)
            for task in tuple(self._running):
                task.cancel()
