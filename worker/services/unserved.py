"""Says which queues have due tasks and no worker: who waits for those would wait for ever."""

import logging
import time
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row

logger = logging.getLogger("worker.rescuer")

REPORT_SECONDS = 60.0
"""Between two reports."""

PATIENCE_SECONDS = 10.0
"""A queue may be without a worker for so long: that of a deploy that stops before it starts."""

MOST_QUEUES = 1000
"""Names that are kept in mind."""

NAMED = 5
"""Queues that are named in a line of the log."""


class Unserved:
    """What waits in queues that no live worker serves, as far as the rescuer has looked.

    It reads no row of its own: the rescuer shows it the pages of its rounds.
    """

    def __init__(self) -> None:
        self._round: dict[str, int] = {}
        self._round_before: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._told_at = float("-inf")

    def begin_round(self) -> None:
        """From now on the pages are those of a new round."""
        self._round_before, self._round = self._round, {}

    def note(self, rows: Sequence[Row[Any]]) -> None:
        """A page: rows with their queue, and whether they are due."""
        for row in rows:
            known = row.queue in self._round or len(self._round) < MOST_QUEUES
            if row.due and known:
                self._round[row.queue] = self._round.get(row.queue, 0) + 1

    def tell(self, served: Collection[str]) -> None:
        """Log what waits in other queues than those, once a minute."""
        now = time.monotonic()
        waiting = {**self._round_before, **self._round}
        alone = {queue: waiting[queue] for queue in sorted(waiting.keys() - set(served))}
        self._since = {queue: self._since.get(queue, now) for queue in alone}
        late = [queue for queue in alone if now - self._since[queue] >= PATIENCE_SECONDS]
        if not late or now - self._told_at < REPORT_SECONDS:
            return
        self._told_at = now
        named = ", ".join(f"{queue!r} ({alone[queue]})" for queue in late[:NAMED])
        more = f" and {len(late) - NAMED} more" if len(late) > NAMED else ""
        logger.warning("due tasks wait in queues that no live worker serves: %s%s. Start one with "
                       "WORKER_QUEUES, or cancel them", named, more)  # fmt: skip
