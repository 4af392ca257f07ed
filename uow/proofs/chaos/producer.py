"""Enqueues at a steady pace whatever happens, and remembers what it was promised."""

import asyncio
from collections.abc import Callable, Iterator

from uow.proofs.chaos.system import UNCLEAR, NotSent, System

PRODUCERS = 4
"""Transactions that can be under way at once when Postgres crashes."""

PAUSE_SECONDS = 0.05


class Producer:
    """Enqueues the tasks 0 to `tasks` - 1, evenly over `seconds`.

    Attributes:
        acknowledged: Numbers whose enqueue has returned: they must be applied.
        unknown: Numbers whose enqueue has failed after something may have been sent: they may be
            applied, and are not enqueued again.
    """

    def __init__(
        self, system: System, tasks: int, seconds: float, note: Callable[[str], None]
    ) -> None:
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self._system = system
        self._tasks = tasks
        self._seconds = seconds
        self._note = note

    async def run(self) -> None:
        """Enqueue all of them."""
        numbers = iter(range(self._tasks))
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for _ in range(PRODUCERS):
                group.create_task(self._produce(numbers, began))

    async def _produce(self, numbers: Iterator[int], began: float) -> None:
        loop = asyncio.get_running_loop()
        for number in numbers:
            due = began + self._seconds * number / self._tasks
            await asyncio.sleep(due - loop.time())
            await self._enqueue(number)

    async def _enqueue(self, number: int) -> None:
        while True:
            try:
                await self._system.enqueue(number)
            except NotSent:  # the server is away: wait for it
                await asyncio.sleep(PAUSE_SECONDS)
            except UNCLEAR as error:
                self.unknown.add(number)
                self._note(f"unknown whether {number} was enqueued: {_first_line(error)}")
                return
            else:
                self.acknowledged.add(number)
                return


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
