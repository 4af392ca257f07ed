"""The connection to Redis, and what may be said when it is not there."""

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from arq.connections import ArqRedis, RedisSettings
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from uow.errors import SettingsError
from uow.urls import certificates

RedisClient = Redis
"""Any client, ours or arq's."""

SOCKET_TIMEOUT = 5.0
"""Seconds after which an answer that did not come counts as a Redis that is away."""

AWAY: tuple[type[Exception], ...] = (RedisError, OSError)
"""What a call raises while Redis is away, or if it refuses (`refusals.is_refusal` tells which)."""


def connect(
    url: str,
    *,
    queue: str = "arq:queue",
    timeout: float = SOCKET_TIMEOUT,
    kind: type[ArqRedis] = ArqRedis,
) -> ArqRedis:
    """A client for `url`, with our serializer; nothing connects before the first call.

    Raises:
        SettingsError: What the URL says about TLS does not fit together, or is not there.
    """
    from uow.broker import codec  # pydantic: an arq class, with a client of its own, needs none

    redis = kind.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, **tls(url)
    )  # what the URL says wins
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
    kind = _cancellable(pool.connection_class)  # type: ignore[arg-type]
    return Redis.from_pool(ConnectionPool(connection_class=kind, **options))  # closed with it


class _Cancellable:
    """Marks the connections of `_cancellable`."""


@cache
def _cancellable(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """A connection that sends without `asyncio.wait_for`.

    redis-py uses that when there is a socket timeout. It makes a task of each command; and before
    Python 3.12 it swallows a cancellation that comes together with the end of what it waits for: a
    worker that is told to stop would go on.

    Pools take any callable for a class. What another one makes is left as it is.
    """
    if not isinstance(kind, type) or issubclass(kind, _Cancellable):
        return kind

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

    arq's own `from_dsn` forgets to decode the password and what the URL says about TLS, and gives
    a connection one second to be there.
    """
    said: dict[str, Any] = {
        "socket_connect_timeout": SOCKET_TIMEOUT, **tls(url), **parse_url(url),
    }  # fmt: skip
    names = {
        "path": "unix_socket_path", "db": "database", "socket_connect_timeout": "conn_timeout",
    }  # fmt: skip
    known = {field.name for field in fields(RedisSettings)}
    options = {names.get(name, name): value for name, value in said.items()}
    return RedisSettings(
        ssl=is_tls(url), **{name: value for name, value in options.items() if name in known}
    )


def is_tls(url: str) -> bool:
    """Whether the connection to `url` is encrypted."""
    return urlsplit(url).scheme == "rediss"


def tls(url: str) -> dict[str, bool]:
    """The host's name is in the certificate, unless the URL says that it need not be.

    redis-py takes any certificate that somebody trusted has signed, for whatever name.

    Raises:
        SettingsError: The URL wants the name of a certificate checked that it does not want to see,
            or it names a file that cannot be used.
    """
    if not is_tls(url):
        return {}
    said: dict[str, Any] = {**parse_url(url)}
    unchecked = said.get("ssl_cert_reqs") == "none"
    if unchecked and said.get("ssl_check_hostname"):
        raise SettingsError(
            "WORKER_REDIS_URL: with ssl_cert_reqs=none there is no name that "
            "ssl_check_hostname=true could check"
        )
    _look_at_files(said)
    return {"ssl_check_hostname": not unchecked}


def _look_at_files(said: Mapping[str, Any]) -> None:
    """redis-py would say that there is no such file, but not of which it speaks."""
    try:
        certificates.load(
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), said,
            authority="ssl_ca_certs", certificate="ssl_certfile", key="ssl_keyfile",
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError(f"WORKER_REDIS_URL: {error}") from None


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
