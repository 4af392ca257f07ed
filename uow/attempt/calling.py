"""Calls a task function where it runs: on the event loop, in a thread, or in a child process."""

from typing import Any

from uow.attempt.in_thread import InThreads
from uow.attempt.solo import Solo
from uow.process.threads import Threads
from uow.tasks.context import ProcessContext
from uow.tasks.function import TaskFunction


class Calling:
    """What a process calls its functions with.

    Args:
        threads: How many functions run at once in threads.
        solo: Who is inside.

    Attributes:
        threads: Those that run in threads.
    """

    def __init__(self, threads: int = 1, solo: Solo | None = None) -> None:
        self.threads = InThreads(Threads(threads), solo or Solo())

    async def call(
        self, function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: dict[str, Any]
    ) -> object:
        """Call `function`; its result, or what it raises."""
        match function.runs_in:
            case "loop":
                return await function.function(ctx, **arguments)
            case "thread":
                return await self.threads.call(function, ctx, arguments)
            case "process":
                raise NotImplementedError

    def close(self) -> None:
        """Let threads and child processes end."""
        self.threads.close()
