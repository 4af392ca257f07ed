"""Calls a task function where it runs: on the event loop, in a thread, or in a child process."""

import os
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Self

from uow.attempt.deadlines import Deadlines
from uow.attempt.in_thread import InThreads
from uow.attempt.solo import Solo
from uow.process.threads import Threads
from uow.settings.environment import Settings
from uow.tasks.context import ProcessContext
from uow.tasks.function import TaskFunction

if TYPE_CHECKING:
    from uow.attempt.in_process import InProcesses


class Calling:
    """What a process calls its functions with.

    Args:
        threads: How many functions run at once in threads.
        processes: How many run at once in child processes.
        solo: Who is inside.

    Attributes:
        threads: Those that run in threads.
        deadlines: Interrupts those that take too long.
    """

    def __init__(self, threads: int = 1, processes: int = 1, solo: Solo | None = None) -> None:
        self.threads = InThreads(Threads(threads), solo or Solo())
        self.deadlines = Deadlines()
        self._most_processes = processes
        self._processes: InProcesses | None = None

    @classmethod
    def of(cls, settings: Settings, solo: Solo) -> Self:
        """As the settings say."""
        processes = settings.cpu_slots or min(_processors(), settings.concurrency)
        return cls(settings.threads or settings.concurrency, processes, solo)

    def call(
        self, function: TaskFunction[Any, Any], ctx: ProcessContext, arguments: dict[str, Any]
    ) -> Awaitable[object]:
        """Call `function`; its result, or what it raises."""
        match function.runs_in:
            case "loop":
                called: Awaitable[object] = function.function(ctx, **arguments)
                return called
            case "thread":
                return self.threads.call(function, ctx, arguments)
            case "process":
                return self.processes.call(function, ctx, arguments)

    @property
    def processes(self) -> "InProcesses":
        """Those that run in child processes."""
        if self._processes is None:
            from uow.attempt.in_process import InProcesses  # for who has such a function

            self._processes = InProcesses(self._most_processes)
        return self._processes

    def close(self) -> None:
        """Let threads and child processes end."""
        self.deadlines.close()
        self.threads.close()
        if self._processes is not None:
            self._processes.close()


def _processors() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
