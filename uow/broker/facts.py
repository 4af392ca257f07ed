"""What Redis says about itself, for whoever looks whether all is well."""

from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from uow.broker import codec, keys
from uow.broker.redis import RedisClient
from uow.errors import UndecodablePayload

JOBS_LOOKED_AT = 100
"""Of each queue, those that are due first."""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """A Redis server, or a Valkey.

    Attributes:
        server: "redis" or "valkey".
        version: Of that server, or of the Redis that a Valkey is like.
        used, most, machine: Bytes that it uses, may use (0: no limit) and that its machine has.
        policy: What becomes of keys when the most is used.
        failing: What it could not write to the disk last; None: nothing.
        keeps: It writes to the disk; None: it does not tell us.
    """

    server: str
    version: tuple[int, ...]
    used: int
    most: int
    machine: int
    policy: str
    failing: str | None
    keeps: bool | None


async def redis_facts(redis: RedisClient) -> RedisFacts:
    """The server.

    Raises:
        RedisError, OSError: Redis is away, or INFO is refused.
    """
    info: dict[str, Any] = await redis.info()
    version = str(info.get("redis_version", "0"))
    return RedisFacts(
        server=str(info.get("server_name", "redis")),
        version=tuple(int(part) for part in version.split(".") if part.isdigit()),
        used=int(info.get("used_memory", 0)),
        most=int(info.get("maxmemory", 0)),
        machine=int(info.get("total_system_memory", 0)),
        policy=str(info.get("maxmemory_policy", "?")),
        failing=_failing(info),
        keeps=bool(info.get("aof_enabled")) or await _saves(redis),
    )


def _failing(info: dict[str, Any]) -> str | None:
    for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get(name, "ok") != "ok":
            return name
    return None


async def _saves(redis: RedisClient) -> bool | None:
    try:
        said = await redis.config_get("save")
    except ResponseError:  # a managed Redis has no CONFIG, and a user of its own no right to it
        return None
    return bool(said.get("save"))


async def rows_named(redis: RedisClient, queue: str) -> dict[str, str]:
    """The rows that the first jobs of a queue name, by the id of the job.

    What is no job of ours, or is rowless, is left out.
    """
    ids = [id_.decode(errors="replace") for id_ in await redis.zrange(queue, 0, JOBS_LOOKED_AT - 1)]
    if not ids:
        return {}
    payloads = await redis.mget([keys.job(id_) for id_ in ids])
    named = {id_: _row_in(payload) for id_, payload in zip(ids, payloads, strict=True)}
    return {id_: row for id_, row in named.items() if row is not None}


def _row_in(payload: bytes | None) -> str | None:
    if payload is None:
        return None
    try:
        row = codec.deserialize(payload)["k"].get(codec.ROW)
    except UndecodablePayload:
        return None
    return row if isinstance(row, str) else None


async def owners_of(redis: RedisClient, queues: list[str]) -> dict[str, bytes]:
    """What is written of whose these queues are; of nobody's, nothing."""
    found = await redis.mget([keys.owner(queue) for queue in queues])
    return {queue: said for queue, said in zip(queues, found, strict=True) if said is not None}
