"""Counts the attempts of this process, and writes every ten seconds what it has counted.

Beside the heartbeat and not with it: a lock on these tables must make nobody look dead. Nothing
waits for it, and nothing is stopped by it: what cannot be written is written with what comes next.
A process that is killed has not written its last ten seconds; tasks themselves are in their rows.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from uuid import uuid4

from uow.attempt.telling import EndedAttempt, ended_as, error_of
from uow.db import rollup
from uow.db.statement import Statements
from uow.events.spine import Spine
from uow.service import Service
from uow.services.counts import Counts, Ended, Slice, to_text
from uow.tasks.outcome import Completed, Outcome
from uow.telemetry.description import type_of

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0

LIMIT_SECONDS = 2.0
"""For one row: a Postgres that takes longer has better things to do."""

LAST_SECONDS = 1.0
"""The same when the process ends."""

MOST_SLICES = 30
"""Of ten seconds each, that are kept apart while they cannot be written: five minutes. Of what is
older the oldest two become one, with the time of the younger."""

TOGETHER = 256
"""So many ended attempts are counted at once; or fewer, when they are to be written."""

REPORT_SECONDS = 60.0

UNKNOWN = "(unknown)"
"""The name of tasks that no function here has: they may be called anything."""

_COMPLETED = ("completed", None)


class CountWriter(Service):
    """The counts of one worker, from a start to its stop.

    Args:
        process: Its name in the fleet.
        events: Of the worker; nothing has happened yet.
        is_known: Says whether it has a task function of that name.
    """

    passing = (Exception,)
    pause_after_error = pause_cap = INTERVAL_SECONDS
    report_seconds = REPORT_SECONDS

    def __init__(
        self, db: Statements, process: str, events: Spine, is_known: Callable[[str], bool]
    ) -> None:
        super().__init__(INTERVAL_SECONDS)
        self._db = db
        self._source = f"{process}:{uuid4().hex[:6]}"  # a worker may be started again
        self._ended: deque[Ended] = deque()
        self._counts = Counts()
        self._kept: deque[tuple[float, Counts]] = deque()
        self._sent: list[tuple[float, Counts]] = []
        self._number = 0
        events.listen_to_batches(self._listener(is_known), EndedAttempt)

    @property
    def name(self) -> str:
        """What logs call it."""
        return "rollup"

    def _listener(
        self, is_known: Callable[[str], bool]
    ) -> Callable[[Sequence[EndedAttempt]], None]:
        ended, append, clock = self._ended, self._ended.append, time.time

        def note(attempts: Sequence[EndedAttempt]) -> None:
            now = clock()
            for attempt, outcome in attempts:
                task = attempt.task
                how, error_type = _COMPLETED if type(outcome) is Completed else _told(outcome)
                name = task.name if is_known(task.name) else UNKNOWN
                append((name, task.queue, how, attempt.waited, now - attempt.began, error_type))
            if len(ended) >= TOGETHER:
                self._count()

        return note

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

    def _count(self) -> None:
        ended, note = self._ended, self._counts.note
        while ended:
            note(ended.popleft())

    def _close_slice(self) -> None:
        self._count()
        if self._counts:
            self._kept.append((time.monotonic(), self._counts))
            self._counts = Counts()
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


def _told(outcome: Outcome | None) -> tuple[str, str | None]:
    """The outcome in a word, and the type of its error."""
    error = error_of(outcome)
    return ended_as(outcome), None if error is None else type_of(error)
