"""Says which queues have due tasks and no worker: who waits for those would wait for ever."""

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from uow.db.delivery import Pushable

logger = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
"""Between two reports."""

PATIENCE_SECONDS = 10.0
"""A queue may be without a worker for so long: that of a deploy that stops before it starts."""

MOST_QUEUES = 1000
"""Names that are kept in mind."""

NAMED = 5
"""Queues that are named in a line of the log."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """How many due tasks of a queue a round has shown, and the last of them."""

    count: int
    last: Pushable


class Unserved:
    """What waits in queues that no live worker serves, as far as the rescuer has looked.

    It reads no row of its own: the rescuer shows it the pages of its rounds. What it has seen may
    have been run since then, so of each queue it keeps a row, to be looked at before it is named.
    """

    def __init__(self) -> None:
        self._round: dict[str, _Seen] = {}
        self._round_before: dict[str, _Seen] = {}
        self._since: dict[str, float] = {}
        self._told_at = float("-inf")

    def begin_round(self) -> None:
        """From now on the pages are those of a new round."""
        self._round_before, self._round = self._round, {}

    def note(self, rows: Sequence[Pushable]) -> None:
        """A page: rows with their queue, and whether they are due."""
        for row in rows:
            known = row.queue in self._round or len(self._round) < MOST_QUEUES
            if row.due and known:
                before = self._round.get(row.queue)
                self._round[row.queue] = _Seen(1 if before is None else before.count + 1, row)

    def late(self, served: Collection[str]) -> list[Pushable]:
        """A row of each queue that is to be named now: of others than those, once a minute."""
        now = time.monotonic()
        waiting = self._waiting()
        alone = sorted(waiting.keys() - set(served))
        self._since = {queue: self._since.get(queue, now) for queue in alone}
        if now - self._told_at < REPORT_SECONDS:
            return []
        late = [queue for queue in alone if now - self._since[queue] >= PATIENCE_SECONDS]
        return [waiting[queue].last for queue in late]

    def tell(self, late: Sequence[Pushable], still: Sequence[Pushable]) -> None:
        """Log the queues of `late` whose row is in `still`, and forget the others until they are
        seen again."""
        waiting = self._waiting()
        there = {row.queue: waiting[row.queue].count for row in still}
        for row in late:
            if row.queue not in there:
                self._round.pop(row.queue, None)
                self._round_before.pop(row.queue, None)
        if not there:
            return
        self._told_at = time.monotonic()
        named = ", ".join(f"{queue!r} ({there[queue]})" for queue in list(there)[:NAMED])
        more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
        logger.warning("due tasks wait in queues that no live worker serves: %s%s. Start one with "
                       "WORKER_QUEUES, or cancel them", named, more)  # fmt: skip

    def _waiting(self) -> dict[str, _Seen]:
        return {**self._round_before, **self._round}
