"""A connection to Redis: taken down under whoever uses it, and before it trusts a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from arq.connections import RedisSettings, create_pool
from arq.worker import async_check_health
from pydantic import SecretStr
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.loopback import make_certificate, tls_with
from tests.proxy import Proxy
from tests.redis_commands import command
from uow import Settings
from uow.broker.redis import SOCKET_TIMEOUT, apart, arq_settings, connect
from uow.broker.wire import open_wire
from uow.embedded import EmbeddedRedis
from uow.errors import ServerUnreachable, SettingsError
from uow.services.readiness import wait_for_servers
from uow.settings.environment import load_settings


async def test_a_connection_that_is_lost_under_a_writer_says_so(
    redis_server: EmbeddedRedis,
) -> None:
    """redis-py shares a pub/sub connection between reader and writers, and looks only once."""
    client = connect(redis_server.url)
    connection: AbstractConnection
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()  # type: ignore[no-untyped-call]
    writing = asyncio.create_task(connection.send_packed_command([b"PING\r\n"]))
    await asyncio.sleep(0)  # it has seen that it is connected
    await connection.disconnect(nowait=True)
    (outcome,) = await asyncio.gather(writing, return_exceptions=True)
    assert outcome is None or isinstance(outcome, RedisConnectionError)
    await client.aclose()


async def test_a_cancellation_that_comes_while_a_command_is_sent_is_not_swallowed(
    redis_server: EmbeddedRedis,
) -> None:
    """As `asyncio.wait_for` does before Python 3.12, at any of these moments."""
    client = connect(redis_server.url)
    for steps in range(12):
        sending = asyncio.create_task(command(client, "PING"))
        for _ in range(steps):
            await asyncio.sleep(0)
        if not sending.done():
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled(), steps
    await client.aclose()


class TestTls:
    """Every client of ours, towards a server with a certificate for "localhost"."""

    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[EmbeddedRedis]:
        async with EmbeddedRedis(tcp=True) as redis, connect(redis.url) as admin:
            await command(admin, "ACL", "SETUSER", "worker", "on", ">hunter2", "~*", "+@all")
            yield redis

    @pytest.fixture
    async def tls(self, server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator["TlsDoor"]:
        door = TlsDoor(server, make_certificate(tmp_path))
        async with door.open():
            yield door

    @pytest.mark.parametrize("kind", ["client", "apart", "wire", "arq"])
    async def test_a_certificate_for_another_name_is_told_no_password(
        self, kind: str, tls: "TlsDoor"
    ) -> None:
        with pytest.raises(RedisConnectionError, match="doesn't match|mismatch"):
            await CLIENTS[kind](tls.url("127.0.0.1"))
        assert tls.heard == b""

    @pytest.mark.parametrize("kind", ["client", "apart", "wire", "arq"])
    @pytest.mark.parametrize(
        ("host", "more"),
        [
            ("localhost", ""),
            ("127.0.0.1", "&ssl_check_hostname=false"),
            ("127.0.0.1", "&ssl_cert_reqs=none"),
        ],
    )
    async def test_the_right_name_and_what_the_url_lets_pass_is_served(
        self, kind: str, host: str, more: str, tls: "TlsDoor"
    ) -> None:
        await CLIENTS[kind](tls.url(host) + more)
        assert b"hunter2" in tls.heard

    @pytest.mark.parametrize(
        ("host", "more"),
        [
            ("localhost", "&socket_connect_timeout=4\n"),
            ("127.0.0.1", "&ssl_cert_reqs=none"),
            ("127.0.0.1", "&ssl_cert_reqs=CERT_NONE"),
            ("127.0.0.1", "&ssl_check_hostname=false"),
        ],
    )
    async def test_arqs_check_finds_a_healthy_worker(
        self, host: str, more: str, tls: "TlsDoor", server: EmbeddedRedis
    ) -> None:
        async with connect(server.url) as admin:
            await admin.set("arq:queue:health-check", "well")
        url = load_settings(redis_url=tls.url(host) + more).redis_url.get_secret_value()
        assert await async_check_health(arq_settings(url)) == 0

    async def test_a_certificate_that_nobody_vouches_for_is_told_no_password(
        self, tls: "TlsDoor"
    ) -> None:
        with pytest.raises(RedisConnectionError, match="self.signed"):
            await ping(tls.url("localhost").partition("?")[0])
        assert tls.heard == b""

    async def test_the_start_says_at_once_which_name_was_wrong(
        self, tls: "TlsDoor", settings: Settings
    ) -> None:
        url = tls.url("127.0.0.1")
        theirs = settings.model_copy(update={"redis_url": SecretStr(url), "connect_timeout": 60})
        async with asyncio.timeout(20):
            with pytest.raises(ServerUnreachable, match="Redis at 127.0.0.1.*certificate") as error:
                await wait_for_servers(theirs)
        assert "hunter2" not in str(error.value)

    def test_a_name_cannot_be_checked_in_what_is_not_looked_at(self) -> None:
        with pytest.raises(SettingsError, match="ssl_check_hostname=true"):
            connect("rediss://localhost?ssl_cert_reqs=none&ssl_check_hostname=true")

    def test_arqs_check_waits_for_a_connection_as_long_as_we_do(self) -> None:
        assert arq_settings("redis://h").conn_timeout == SOCKET_TIMEOUT
        assert arq_settings("redis://h?socket_connect_timeout=2").conn_timeout == 2

    def test_without_tls_there_is_nothing_to_check(self) -> None:
        assert "ssl_check_hostname" not in connect("redis://h").connection_pool.connection_kwargs
        assert arq_settings("redis://u:p%40@h:1/3") == RedisSettings(
            host="h",
            port=1,
            database=3,
            username="u",
            password="p@",
            conn_timeout=SOCKET_TIMEOUT,  # type: ignore[arg-type]  # arq knows no parts of one
        )


class TlsDoor(Proxy):
    """In front of a server; remembers what it was told."""

    def __init__(self, server: EmbeddedRedis, certificate: Path) -> None:
        parts = urlsplit(server.url)
        super().__init__(parts.hostname or "", parts.port or 0)
        self.certificate = certificate
        self.heard = b""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        tls = tls_with(self.certificate)
        async with await asyncio.start_server(self._hear, "127.0.0.1", 0, ssl=tls) as listener:
            self.port = listener.sockets[0].getsockname()[1]
            yield

    def url(self, host: str) -> str:
        return f"rediss://worker:hunter2@{host}:{self.port}/0?ssl_ca_certs={self.certificate}"

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read = reader.read

        async def heard(n: int = -1) -> bytes:
            data = await read(n)
            self.heard += data
            return data

        reader.read = heard  # type: ignore[method-assign]
        await self._serve(reader, writer)


async def ping(url: str) -> None:
    async with connect(url) as client:
        await client.ping()


async def ping_apart(url: str) -> None:
    async with connect(url) as client, apart(client) as other:
        await other.ping()


async def ping_by_wire(url: str) -> None:
    async with connect(url) as client:
        wire = await open_wire(client, lambda: None)
        await wire.send("PING")
        wire.close()


async def ping_as_arq(url: str) -> None:
    settings = arq_settings(url)
    settings.conn_retries = 0
    pool = await create_pool(settings)
    await pool.aclose()


CLIENTS = {"client": ping, "apart": ping_apart, "wire": ping_by_wire, "arq": ping_as_arq}
