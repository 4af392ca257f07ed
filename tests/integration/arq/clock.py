"""A Redis whose clock a test sets, for workers that only push their cron jobs."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

from arq.connections import ArqRedis
from arq.worker import Worker


class Clock:
    """What Redis says when it is asked for the time."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    async def time(self) -> tuple[int, int]:
        return int(self.now.timestamp()), self.now.microsecond

    def until(self, end: datetime, step: timedelta) -> Iterator[datetime]:
        """Let time pass."""
        while self.now <= end:
            yield self.now
            self.now += step


@contextlib.asynccontextmanager
async def connected(client: ArqRedis, *workers: Worker) -> AsyncIterator[None]:
    """Workers that are not started: nothing happens but what the test calls."""
    for worker in workers:
        worker._pool = client
    yield
    for worker in workers:
        worker._pool = None


async def pushed(client: ArqRedis) -> dict[str, list[datetime]]:
    """The ticks in the queue, by the names of their cron jobs, in order."""
    found: dict[str, list[datetime]] = {}
    for job_id, score in await client.zrange("arq:queue", 0, -1, withscores=True):
        name, _, milliseconds = job_id.decode().rpartition(":")
        assert score >= int(milliseconds)
        tick = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(milliseconds))
        found.setdefault(name, []).append(tick)
    return {name: sorted(ticks) for name, ticks in found.items()}
