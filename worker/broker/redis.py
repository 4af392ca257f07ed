"""The connection to Redis, and what may be said when it is not there."""

import asyncio
import contextlib
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from arq.connections import ArqRedis, RedisSettings
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from worker.broker import codec
from worker.errors import SettingsError

RedisClient = Redis
"""Any client, ours or arq's."""

SOCKET_TIMEOUT = 5.0
"""Seconds after which an answer that did not come counts as a Redis that is away."""

AWAY: tuple[type[Exception], ...] = (RedisError, OSError)
"""What a call raises while Redis is away."""


def connect(
    url: str,
    *,
    queue: str = "arq:queue",
    timeout: float = SOCKET_TIMEOUT,
    kind: type[ArqRedis] = ArqRedis,
) -> ArqRedis:
    """A client for `url`, with our serializer; nothing connects before the first call."""
    redis = kind.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
    pool = redis.connection_pool
    pool.connection_class = _cancellable(pool.connection_class)
    redis.job_serializer = codec.serialize
    redis.job_deserializer = codec.deserialize
    redis.default_queue_name = queue
    return redis  # type: ignore[no-any-return]


def apart(redis: ArqRedis) -> Redis:
    """Another client of the same server, with connections of its own: for another event loop, or to
    know at once that Redis is away."""
    pool = redis.connection_pool
    options = {
        **pool.connection_kwargs,
        "socket_timeout": pool.connection_kwargs.get("socket_timeout") or SOCKET_TIMEOUT,
    }
    kind = pool.connection_class
    if not issubclass(kind, _Cancellable):
        kind = _cancellable(kind)  # type: ignore[arg-type]
    return Redis.from_pool(ConnectionPool(connection_class=kind, **options))  # closed with it


class _Cancellable:
    """Marks the connections of `_cancellable`."""


@cache
def _cancellable(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """A connection that sends without `asyncio.wait_for`.

    redis-py uses that when there is a socket timeout. It makes a task of each command; and before
    Python 3.12 it swallows a cancellation that comes together with the end of what it waits for: a
    worker that is told to stop would go on.
    """

    class Cancellable(_Cancellable, kind):  # type: ignore[misc, valid-type]
        async def send_packed_command(
            self, command: bytes | str | Iterable[bytes], check_health: bool = True
        ) -> None:
            if not self.is_connected:
                await self.connect()
            elif check_health:
                await self.check_health()
            if self._writer is None:  # whoever reads from it has found it lost meanwhile
                raise RedisConnectionError("lost before it could be written to")
            try:
                self._writer.writelines(_parts(command))
                async with asyncio.timeout(self.socket_timeout):
                    await self._writer.drain()
            except TimeoutError:
                await self.disconnect(nowait=True)
                raise RedisTimeoutError("Timeout writing to socket") from None
            except OSError as error:
                await self.disconnect(nowait=True)
                raise RedisConnectionError(f"lost while it was written to: {error}") from error
            except BaseException:
                await self.disconnect(nowait=True)  # half a command may be sent
                raise

    return Cancellable


def _parts(command: bytes | str | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(command, str):
        return [command.encode()]
    return [command] if isinstance(command, bytes) else command


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


async def have_connection(redis: RedisClient) -> None:
    """Connect now, if Redis is there: later there may be no descriptor left for it."""
    with contextlib.suppress(*AWAY):
        await redis.ping()


async def server_time(redis: RedisClient) -> datetime:
    """What time it is by Redis's clock, which is the same for all who ask it."""
    seconds, microseconds = await redis.time()
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)


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
