"""How large the servers' part of it is: our tables, the replicas, the memory of Redis."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from redis.asyncio import Redis

from uow.broker.redis import AWAY
from uow.db import sizes
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.questions.number import Number

REDIS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table of ours.

    Attributes:
        bytes: With its indexes.
        rows: About how many.
        dead: Versions of rows that nobody sees any more, and that are still there.
        vacuumed_at: When Postgres last removed such; None: never.
    """

    name: str
    bytes: Number
    rows: Number
    dead: Number
    vacuumed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReplicaLag:
    """A replica of the Postgres that was asked.

    Attributes:
        lag_bytes: Of WAL that it has not applied yet; None: our role may not know (`pg_monitor`).
        lag_seconds: For which it was behind, lately; None: that, or it was not.
    """

    name: str
    state: str | None
    sync_state: str | None
    lag_bytes: Number | None
    lag_seconds: Number | None


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """The memory of Redis.

    Attributes:
        most: What it may use; None: as much as there is.
        policy: What it does then: with anything but ``noeviction`` it drops jobs.
    """

    used: Number
    most: Number | None
    policy: str | None


@dataclass(frozen=True, slots=True)
class ServerNumbers:
    """What the servers say of themselves.

    Attributes:
        redis: None: it did not answer, or does not let us ask; `redis_trouble` says which.
    """

    tables: list[TableSize]
    replicas: list[ReplicaLag]
    redis: RedisMemory | None
    redis_trouble: str | None


async def server_numbers(db: Database, redis: Redis) -> ServerNumbers:
    """Ask both servers; Redis may be away."""
    async with bounded_reading(db) as reading:
        tables = await sizes.read_table_sizes(reading, db.schema)
        replicas = await sizes.read_replicas(reading)
    memory = await _memory(redis)
    return ServerNumbers(
        tables=[_table(one) for one in tables],
        replicas=[_replica(one) for one in replicas],
        redis=memory if isinstance(memory, RedisMemory) else None,
        redis_trouble=memory if isinstance(memory, str) else None,
    )


def _table(one: sizes.StoredTable) -> TableSize:
    rows, dead = Number(one.rows, "estimate"), Number(one.dead, "estimate")
    return TableSize(one.name, Number(one.bytes, "exact"), rows, dead, one.vacuumed_at)


def _replica(one: sizes.StoredReplica) -> ReplicaLag:
    lag, seconds = one.lag_bytes, one.lag_seconds
    return ReplicaLag(
        name=one.name,
        state=one.state,
        sync_state=one.sync_state,
        lag_bytes=None if lag is None else Number(lag, "exact"),
        lag_seconds=None if seconds is None else Number(seconds, "estimate"),
    )


async def _memory(redis: Redis) -> RedisMemory | str:
    """Or why it is not known."""
    try:
        async with asyncio.timeout(REDIS_SECONDS):
            said = await redis.info("memory")
    except AWAY as error:
        return "Redis does not say: " + type(error).__name__
    most = int(said.get("maxmemory", 0))
    return RedisMemory(
        used=Number(int(said.get("used_memory", 0)), "exact"),
        most=Number(most, "exact") if most else None,
        policy=said.get("maxmemory_policy"),
    )
