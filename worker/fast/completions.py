"""Group commit: one statement completes many tasks whose attempts opened no session.

Each is guarded as it would be alone, and RETURNING says whose guard held. An answer that was lost
is asked for by repeating: what was completed is settled then, and a settled task is only finished.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.db.database import Database
from worker.db.failures import PASSING, refuses
from worker.execution.context import RunningTask
from worker.execution.definition import TaskFunction
from worker.failpoints import reach
from worker.service import Service

if TYPE_CHECKING:
    from worker.fast.attempts import Delivered

logger = logging.getLogger("worker.completions")

BATCH = 500
"""Tasks per statement: some milliseconds of Postgres, in which it holds their rows."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A task whose function has returned."""

    delivered: "Delivered"
    function: TaskFunction[..., object]
    task: RunningTask
    result: str
    retention: float
    began: float


class Completions(Service):
    """Collects completions and commits them together.

    Args:
        on_settled: Called with what is decided, by us or by somebody before us.
        refuse: Deals with a completion that Postgres does not take.
    """

    passing = PASSING

    def __init__(
        self,
        db: Database,
        on_settled: Callable[[Completion], None],
        refuse: Callable[[Completion, Exception], Awaitable[None]],
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(60.0, on_death)
        self._db = db
        self._on_settled = on_settled
        self._refuse = refuse
        self._buffer: list[Completion] = []
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._buffer)

    async def flush(self) -> None:
        """Commit what is there, if Postgres answers; its rows are taken back if not."""
        with contextlib.suppress(*self.passing):
            await self.run_once()

    def add(self, completion: Completion) -> None:
        """Commit soon."""
        self._buffer.append(completion)
        self.wake()

    async def run_once(self) -> None:
        """Commit everything that is there."""
        async with self._writing:
            while batch := self._buffer[:BATCH]:
                await self._commit(batch)
                del self._buffer[: len(batch)]

    async def _commit(self, batch: list[Completion]) -> None:
        """Commit a batch; if it fails, its halves, until only the offender is left."""
        try:
            await self._write(batch)
        except Exception as error:
            if isinstance(error, PASSING) and not refuses(error):
                raise
            if len(batch) == 1:
                await self._refuse(batch[0], error)
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        else:
            for completion in batch:
                reach("committed")
                self._on_settled(completion)

    async def _write(self, batch: list[Completion]) -> None:
        # In the order of their ids, as every batch locks its rows.
        ordered = sorted(batch, key=lambda completion: completion.delivered.row_id)
        found = await self._db.execute_once(
            self._db.queries.succeed_many,
            {
                "ids": [completion.delivered.row_id for completion in ordered],
                "results": [completion.result for completion in ordered],
                "retentions": [completion.retention for completion in ordered],
            },
        )
        if (others := len(batch) - len(found.all())) > 0:
            logger.info("%d tasks had been settled by others when they completed here", others)
