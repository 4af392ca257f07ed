"""What stock clients want aborted: `arq.jobs.Job.abort`, without its trap.

arq keeps a wish by job id, for ever if nobody claims a job of that id; it would hit the next job of
that id as well. So a wish is obeyed only for a job that was enqueued before it was made, and
forgotten after a day.
"""

import contextlib
from collections.abc import Iterator

from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss
from arq.utils import timestamp_ms

from uow.attempt.running import Running
from uow.broker.claims import Claimed
from uow.broker.redis import AWAY

KEPT_MS = 86_400_000
"""How long a wish is kept: as long as arq keeps a job that waits. (arq's own limit is 60, meant as
seconds, read as milliseconds, and looked for in the future: it forgets nothing.)
"""


class Aborts:
    """The wishes, as far as they concern this process."""

    def __init__(self) -> None:
        self._made_ms: dict[str, int] = {}

    def pop(self, job_id: str) -> int | None:
        """When somebody wished the job aborted that is about to start; None: nobody has."""
        return self._made_ms.pop(job_id, None)

    async def look_up(self, redis: ArqRedis, jobs: list[Claimed]) -> None:
        """Look for wishes about jobs that have just been claimed; none, while Redis is away."""
        ids = [one.job_id for one in jobs]
        found: list[float | None] = []
        with contextlib.suppress(*AWAY):
            found = await redis.zmscore(abort_jobs_ss, ids)  # type: ignore[arg-type]
        for job_id, made in zip(ids, found, strict=False):
            if made is not None:
                self._made_ms[job_id.decode(errors="replace")] = int(made)

    async def among(self, redis: ArqRedis, running: Running) -> Iterator[str]:
        """The ids of running jobs that are to be aborted; forgets wishes that are too old."""
        await redis.zremrangebyscore(abort_jobs_ss, "-inf", timestamp_ms() - KEPT_MS)
        wishes = await redis.zrange(abort_jobs_ss, 0, -1, withscores=True)
        return iter([
            held.job_id
            for entry, made in wishes
            if (held := running.get(entry.decode(errors="replace"))) is not None
            and made >= held.enqueued_ms > 0
        ])  # fmt: skip
