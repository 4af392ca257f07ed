"""Group commit: one statement completes many tasks whose attempts opened no session.

Each is guarded as it would be alone, and RETURNING says whose guard held. An answer that was lost
is asked for by repeating: what was completed is settled then, and a settled task is only finished.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from typing import NamedTuple
from uuid import UUID

from uow.attempt.attempt import Attempt
from uow.db.failures import PASSING, Kind, cause_of, refuses, sqlstate
from uow.db.outcomes import succeed_many, was_committed
from uow.db.server import ping
from uow.db.statement import Statements
from uow.service import Service
from uow.tasks.outcome import Completed

logger = logging.getLogger(__name__)

BATCH = 500
"""Tasks per statement: some milliseconds of Postgres, in which it holds their rows."""

FAILURES = 5
"""So often in a row a failing server is believed while it answers; then it is the batch."""

READ_ONLY = "25006"
"""During a failover: no batch brings it about, though a task may."""


class Completion(NamedTuple):
    """An attempt whose function has returned.

    Attributes:
        outcome: With its result.
        context: Of the attempt, if something waits for its commit.
    """

    attempt: Attempt
    outcome: Completed
    context: Context | None = None


class GroupCommit(Service):
    """Collects completions and commits them together.

    Args:
        on_settled: Called with those that are decided: by us, and by somebody before us.
        refuse: Deals with a completion that Postgres does not take.
    """

    passing = PASSING

    def __init__(
        self,
        db: Statements,
        on_settled: Callable[[Sequence[Completion], Sequence[Completion]], None],
        refuse: Callable[[Completion, Exception], Awaitable[None]],
        on_death: Callable[[BaseException], None] | None = None,
    ) -> None:
        super().__init__(60.0, on_death)
        self._db = db
        self._on_settled = on_settled
        self._refuse = refuse
        self._buffer: list[Completion] = []
        self._failures = 0
        self._unanswered: set[UUID] = set()
        self._writing = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._buffer)

    async def flush(self) -> None:
        """Commit what is there, if Postgres answers; its rows are taken back if not."""
        with contextlib.suppress(*self.passing):
            await self.run_once()

    def give_up(self) -> list[Completion]:
        """What is left, and will not be committed; nothing while a statement is under way."""
        if self._writing.locked():
            return []
        left, self._buffer = self._buffer, []
        return left

    def add(self, completion: Completion) -> None:
        """Commit soon."""
        self._buffer.append(completion)
        self.wake()

    async def run_once(self) -> None:
        """Commit everything that is there."""
        async with self._writing:
            while batch := self._buffer[:BATCH]:
                await self._commit(batch)
                self._failures = 0

    async def _commit(self, batch: list[Completion]) -> None:
        """Commit what stands first; if that fails, its halves, until only the offender is left.

        Raises:
            DBAPIError, OSError, PostgresError: It is Postgres that fails, as far as is known. What
                was dealt with is in the buffer no more, and is not repeated.
        """
        try:
            ours = await self._write(batch)
        except Exception as error:
            self._unanswered.update(one.attempt.id for one in batch)
            if not await self._is_to_blame(error):
                raise
            if len(batch) == 1:
                await self._refuse(batch[0], error)
                del self._buffer[0]
                return
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        else:
            del self._buffer[: len(batch)]
            self._tell(batch, ours)

    def _tell(self, batch: list[Completion], ours: Collection[UUID]) -> None:
        """Say which were decided by us, and which by somebody before us."""
        if len(ours) == len(batch):
            self._on_settled(batch, [])
            return
        others = [one for one in batch if one.attempt.id not in ours]
        logger.info("%d tasks had been settled by others when they completed here", len(others))
        self._on_settled([one for one in batch if one.attempt.id in ours], others)

    async def _is_to_blame(self, error: Exception) -> bool:
        """Whether a batch fails by its own doing: it is refused, or fails while Postgres answers.

        Once `FAILURES` batches have failed in a row, that holds for the halves, too.
        """
        if refuses(error) or not isinstance(error, PASSING):
            return True
        self._failures = 0 if await self._is_everybodys(error) else self._failures + 1
        return self._failures >= FAILURES

    async def _is_everybodys(self, error: Exception) -> bool:
        """Whether no batch can have brought it about; a server that answers is not away."""
        cause = cause_of(error)
        if sqlstate(error) == READ_ONLY or (cause is not None and cause.kind is Kind.DISK):
            return True
        try:
            await ping(self._db)
        except PASSING:
            return True
        return False

    async def _write(self, batch: list[Completion]) -> set[UUID]:
        """Complete them; returns those whose guard held."""
        # In the order of their ids, as every batch locks its rows.
        ordered = sorted(batch, key=lambda completion: completion.attempt.id)
        settled = await succeed_many(
            self._db,
            [completion.attempt.id for completion in ordered],
            [completion.outcome.result.decode() for completion in ordered],
            [completion.attempt.retention for completion in ordered],
        )
        return {*settled, *await self._settled_before(batch, settled)}

    async def _settled_before(
        self, batch: list[Completion], settled: Collection[UUID]
    ) -> list[UUID]:
        """Those that an earlier statement of ours has completed, whose answer was lost."""
        if not self._unanswered:
            return []
        attempts = [one.attempt for one in batch if one.attempt.id not in settled]
        asked = [one for one in attempts if one.id in self._unanswered]
        ours = [one.id for one in asked if await was_committed(self._db, one.id, one.task.attempt)]
        self._unanswered.difference_update(one.attempt.id for one in batch)
        return ours
