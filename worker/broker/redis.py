"""The connection to Redis, and what may be said when it is not there."""

import contextlib
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from arq.connections import ArqRedis, RedisSettings
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from worker.broker import codec
from worker.errors import SettingsError

RedisClient = Redis
"""Any client, ours or arq's."""

SOCKET_TIMEOUT = 5.0
"""Seconds after which an answer that did not come counts as a Redis that is away."""

AWAY: tuple[type[Exception], ...] = (RedisError, OSError)
"""What a call raises while Redis is away."""


def connect(url: str, *, queue: str = "arq:queue", timeout: float = SOCKET_TIMEOUT) -> ArqRedis:
    """A client for `url`, with our serializer; nothing connects before the first call."""
    redis = ArqRedis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
    redis.job_serializer = codec.serialize
    redis.job_deserializer = codec.deserialize
    redis.default_queue_name = queue
    return redis  # type: ignore[no-any-return]


def arq_settings(url: str) -> RedisSettings:
    """The same address in the words of the stock arq worker.

    arq's own `from_dsn` forgets to decode the password and does not check the host's name in TLS.
    """
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("db", [parts.path.lstrip("/") or "0"])[0]
    unix = parts.scheme == "unix"
    return RedisSettings(
        host=parts.hostname or "localhost",
        port=parts.port or 6379,
        unix_socket_path=parts.path if unix else None,
        database=int(database) if database.isdigit() else 0,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        ssl=parts.scheme == "rediss",
        ssl_check_hostname=parts.scheme == "rediss",
    )


async def refuse_cluster(redis: RedisClient) -> None:
    """Refuse Redis Cluster.

    Raises:
        SettingsError: arq's scripts and transactions touch keys of several hash slots.
    """
    info: dict[str, Any] = {}
    with contextlib.suppress(NoPermissionError):  # INFO is often forbidden to clients
        info = await redis.info("cluster")
    if info.get("cluster_enabled"):
        raise SettingsError(
            "WORKER_REDIS_URL is a Redis Cluster, which arq's multi-key transactions cannot use: "
            "use a single Redis (with a replica), or one database of it for the worker alone"
        )


def address(url: str) -> str:
    """Where `url` leads, without login and password, for messages."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
