"""Counts the attempts of this process, and writes every ten seconds what it has counted.

Beside the heartbeat and not with it: a lock on these tables must make nobody look dead. Nothing
waits for it, and nothing is stopped by it: what cannot be written is written with what comes next.
A process that is killed has not written its last ten seconds; tasks themselves are in their rows.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Sequence
from uuid import uuid4

from uow.attempt.notes import EndedAlike, Notes
from uow.db import rollup
from uow.db.statement import Statements
from uow.service import Service
from uow.services.counts import Counts, Slice, to_text

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0

LIMIT_SECONDS = 2.0
"""For one row: a Postgres that takes longer has better things to do."""

LAST_SECONDS = 1.0
"""The same when the process ends."""

MOST_SLICES = 30
"""Of ten seconds each, that are kept apart while they cannot be written: five minutes. Of what is
older the oldest two become one, with the time of the younger."""

REPORT_SECONDS = 60.0


class CountWriter(Service):
    """The counts of one worker, from a start to its stop.

    Args:
        process: Its name in the fleet.
        notes: The worker's; nothing has happened yet.
    """

    passing = (Exception,)
    pause_after_error = pause_cap = INTERVAL_SECONDS
    report_seconds = REPORT_SECONDS

    def __init__(self, db: Statements, process: str, notes: Notes) -> None:
        super().__init__(INTERVAL_SECONDS)
        self._db = db
        self._source = f"{process}:{uuid4().hex[:6]}"  # a worker may be started again
        self._notes = notes
        self._counts = Counts()
        self._kept: deque[tuple[float, Counts]] = deque()
        self._sent: list[tuple[float, Counts]] = []
        self._number = 0
        notes.listen(self._count)

    @property
    def name(self) -> str:
        """What logs call it."""
        return "rollup"

    async def run_once(self) -> None:
        """Write what has been counted since the last time, and what could not be written then."""
        self._close_slice()
        await self._write(LIMIT_SECONDS)

    async def stop(self) -> None:
        """Write what is left, if that takes no time."""
        await super().stop()
        self._close_slice()
        with contextlib.suppress(*self.passing):
            await self._write(LAST_SECONDS)

    def _count(self, ended: Sequence[EndedAlike]) -> None:
        for those in ended:
            self._counts.note(those)

    def _close_slice(self) -> None:
        with self._notes.counted():
            counts, self._counts = self._counts, Counts()
        if counts:
            self._kept.append((time.monotonic(), counts))
        while len(self._kept) > MOST_SLICES:
            _, oldest = self._kept.popleft()
            self._kept[0][1].add(oldest)

    async def _write(self, limit: float) -> None:
        """One row, and the one before if nobody knows whether it was written."""
        if self._sent:
            await self._write_sent(limit)
        if self._kept:
            self._sent, self._number = [*self._kept], self._number + 1
            self._kept.clear()
            await self._write_sent(limit)

    async def _write_sent(self, limit: float) -> None:
        now = time.monotonic()
        counts = to_text([Slice(now - ended, counts) for ended, counts in self._sent])
        await rollup.write_counts(self._db, self._source, self._number, counts, limit=limit)
        self._sent = []
