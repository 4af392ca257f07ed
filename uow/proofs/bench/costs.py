"""What the servers have done meanwhile: the price of a task that a rate does not show.

Taken as the difference of the servers' own counters, so on servers that others use too, what those
do is in it.
"""

import contextlib
from dataclasses import dataclass

import asyncpg
from redis.exceptions import RedisError
from sqlalchemy import text

from uow.proofs.bench.site import Site

_WRITTEN = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")


@dataclass(frozen=True, slots=True)
class Costs:
    """The counters; None where a server does not tell.

    Attributes:
        wal_bytes: What Postgres has written to its log.
        redis_commands: What Redis has executed, commands inside scripts included.
    """

    wal_bytes: int | None
    redis_commands: int | None

    def per_job(self, before: "Costs", jobs: int) -> tuple[float | None, float | None]:
        """The costs of each of `jobs` since `before`."""
        return (
            _each(self.wal_bytes, before.wal_bytes, jobs),
            _each(self.redis_commands, before.redis_commands, jobs),
        )


async def costs(site: Site) -> Costs:
    """Ask both servers."""
    written = executed = None
    with contextlib.suppress(asyncpg.PostgresError):  # a managed Postgres may forbid it
        written = int((await site.db.execute_once(_WRITTEN, {})).scalar_one())
    with contextlib.suppress(RedisError):
        executed = int((await site.client.redis.info("stats"))["total_commands_processed"])
    return Costs(written, executed)


def _each(after: int | None, before: int | None, jobs: int) -> float | None:
    if after is None or before is None:
        return None
    return (after - before) / jobs
