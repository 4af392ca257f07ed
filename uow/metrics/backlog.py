"""Looks at what waits in the whole fleet; a duty of the leader, so that it is asked once."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from uow.db.backlog import Backlog, backlog
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.metrics.tallies import OTHERS
from uow.service import Service

INTERVAL_SECONDS = 10.0
"""Prometheus asks every fifteen or thirty; more often is not seen."""

LIMIT_SECONDS = 5.0
"""For one look; a Postgres that takes longer has better things to do."""

STALE_SECONDS = 60.0
"""What was seen so long ago is not shown any more."""

MOST_QUEUES = 100
"""Queues that are told apart, those with most tasks first: anybody may name one in a row."""

REPORT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in the fleet.

    Attributes:
        tasks: How many, by queue and state.
        oldest: By queue, when the task was due that has waited longest, in seconds since 1970.
        relay_lag: Seconds for which the relay has not looked at what it should have.
    """

    tasks: dict[tuple[str, str], int]
    oldest: dict[str, float]
    relay_lag: float


class BacklogWatch(Service):
    """Looks again and again while this process leads."""

    passing = PASSING
    report_seconds = REPORT_SECONDS

    def __init__(
        self, db: Database, on_death: Callable[[BaseException], None] | None = None
    ) -> None:
        super().__init__(INTERVAL_SECONDS, on_death)
        self._db = db
        self._seen: Waiting | None = None
        self._seen_at = float("-inf")

    @property
    def waiting(self) -> Waiting | None:
        """What was seen; None: this process does not lead, or has seen nothing lately."""
        return self._seen if time.monotonic() - self._seen_at < STALE_SECONDS else None

    async def run_once(self) -> None:
        """One look."""
        self._seen = summed(await backlog(self._db, limit=LIMIT_SECONDS))
        self._seen_at = time.monotonic()

    async def stop(self) -> None:
        """Another process looks from now on."""
        await super().stop()
        self._seen = None


def summed(found: list[Backlog]) -> Waiting:
    """What was found, with a bounded number of queues."""
    sizes = Counter[str]()
    for one in found:
        sizes[one.queue] += one.tasks
    named = {queue for queue, _ in sizes.most_common(MOST_QUEUES)}
    tasks = Counter[tuple[str, str]]()
    oldest: dict[str, float] = {}
    for one in found:
        queue = one.queue if one.queue in named else OTHERS
        tasks[queue, one.state] += one.tasks
        if one.oldest_due is not None:
            oldest[queue] = min(one.oldest_due, oldest.get(queue, one.oldest_due))
    lag = max((one.unlooked for one in found if one.unlooked is not None), default=0.0)
    return Waiting(dict(tasks), oldest, max(lag, 0.0))
