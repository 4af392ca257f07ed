"""What the servers say of themselves: our tables, the replicas, the memory of Redis.

Each part is asked for by itself; what does not answer is unknown, and the rest is there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeVar

from redis.asyncio import Redis

from uow.broker.facts import redis_facts
from uow.broker.redis import AWAY
from uow.db import sizes
from uow.db.bounded import bounded_reading
from uow.db.database import Database
from uow.db.failures import PASSING
from uow.db.server_facts import server_facts
from uow.db.statement import Statements
from uow.errors import ServerUnreachable
from uow.questions.number import Number

PART_SECONDS = 3.0
"""For each part of it."""

_SILENT: tuple[type[Exception], ...] = (*PASSING, *AWAY, ServerUnreachable)

T = TypeVar("T")


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
class PostgresServer:
    """The Postgres that was asked.

    Attributes:
        version: As ``15.18``.
        standby: It takes no writes.
        connections: How many there may be, those for superusers aside.
        vacuums: It removes dead rows by itself (autovacuum).
    """

    version: str
    standby: bool
    connections: Number
    vacuums: bool


@dataclass(frozen=True, slots=True)
class RedisMemory:
    """Redis, or a Valkey, and its memory.

    Attributes:
        most: What it may use; None: as much as there is.
        policy: What it does then: with anything but ``noeviction`` it drops jobs.
        keeps: It writes to the disk; None: it does not say.
    """

    used: Number
    most: Number | None
    policy: str | None
    version: str
    keeps: bool | None


Part = Literal["postgres", "tables", "replicas", "redis"]
"""What is asked for by itself: one that does not answer takes nothing from the others."""


@dataclass(frozen=True, slots=True)
class ServerNumbers:
    """What the servers say of themselves.

    Attributes:
        postgres: None: unknown, as `unknown` says; so is `redis`. Unknown tables and replicas are
            none at all.
        redis_trouble: Why Redis is unknown.
        unknown: What could not be asked for, and why.
    """

    postgres: PostgresServer | None
    tables: list[TableSize]
    replicas: list[ReplicaLag]
    redis: RedisMemory | None
    redis_trouble: str | None
    unknown: dict[Part, str]


async def server_numbers(db: Database, redis: Redis) -> ServerNumbers:
    """Ask both servers; either may be away, or refuse some of it."""
    unknown: dict[Part, str] = {}

    async def of(part: Part, asked: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(PART_SECONDS):
                return await asked
        except _SILENT as error:
            who = "Redis" if part == "redis" else "Postgres"
            unknown[part] = f"{who} does not say: {type(error).__name__}"
            return None

    # Two at a time of Postgres: the pool is not for this alone.
    memory, postgres, tables = await asyncio.gather(
        of("redis", _memory(redis)),
        of("postgres", _read(db, _postgres)),
        of("tables", _read(db, lambda reading: sizes.read_table_sizes(reading, db.schema))),
    )
    replicas = await of("replicas", _read(db, sizes.read_replicas))
    return ServerNumbers(
        postgres=postgres,
        tables=[_table(one) for one in tables or ()],
        replicas=[_replica(one) for one in replicas or ()],
        redis=memory,
        redis_trouble=unknown.get("redis"),
        unknown=unknown,
    )


async def _read(db: Database, ask: Callable[[Statements], Awaitable[T]]) -> T:
    """Ask in a transaction of its own: one that was refused something can go on with nothing."""
    async with bounded_reading(db) as reading:
        return await ask(reading)


async def _postgres(reading: Statements) -> PostgresServer:
    facts = await server_facts(reading)
    major, minor = divmod(facts.version, 10_000)
    limits = (facts.connections, facts.of_role, facts.of_database)
    most = min(limit for limit in limits if limit >= 0)
    return PostgresServer(f"{major}.{minor}", facts.standby, Number(most, "exact"), facts.vacuums)


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


async def _memory(redis: Redis) -> RedisMemory:
    facts = await redis_facts(redis)
    return RedisMemory(
        used=Number(facts.used, "exact"),
        most=Number(facts.most, "exact") if facts.most else None,
        policy=facts.policy,
        version=f"{facts.server} {'.'.join(map(str, facts.version))}",
        keeps=facts.keeps,
    )
