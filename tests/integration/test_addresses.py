"""What the address of a database says, as far as only a real server can tell."""

import getpass
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from asyncpg.exceptions import TargetServerAttributeNotMatched
from sqlalchemy import make_url, text

from tests.loopback import make_certificate
from tests.pgbouncer import pgbouncer
from uow import Database
from uow.embedded import EmbeddedPostgres
from uow.errors import ServerUnreachable, SettingsError

PASSWORD = "p@ss:w rd+%"


async def answer(url: str, question: str) -> object:
    async with Database(url) as db:
        return (await db.execute_once(text(question), {})).scalar_one()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """One that nobody listens on, and nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


class TlsServer:
    """A Postgres on TCP with a certificate for "localhost", which is its own authority."""

    def __init__(self, server: EmbeddedPostgres, certificate: Path) -> None:
        self.port = make_url(server.url).port
        self.certificate = certificate
        self.admin = server.url

    def url(self, words: str = "", host: str = "localhost") -> str:
        return f"postgres://tls:{PASSWORD}@{host}:{self.port}/postgres?{words}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    with EmbeddedPostgres(tcp=True) as postgres:
        data = postgres.directory / "data"
        for name in ("server.crt", "server.key", "root.crt"):
            file = data / name
            file.write_bytes(certificate.read_bytes())
            file.chmod(0o600)
            os.chown(file, data.stat().st_uid, data.stat().st_gid)
        yield TlsServer(postgres, certificate)


@pytest.fixture
async def tls(server: TlsServer) -> TlsServer:
    async with Database(server.admin, isolation_level="AUTOCOMMIT") as db:
        async with db.engine.connect() as connection:
            for statement in (
                "DROP ROLE IF EXISTS tls",
                f"CREATE ROLE tls LOGIN PASSWORD '{PASSWORD}'",
                "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
                "ALTER SYSTEM SET ssl = on",
                "SELECT pg_reload_conf()",
            ):
                await connection.execute(text(statement))
    return server


ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.mark.parametrize(
    ("words", "host"),
    [
        ("sslmode=verify-full&sslrootcert={file}", "localhost"),
        ("sslmode=verify-full&sslrootcert={file}&channel_binding=require", "localhost"),
        ("sslmode=verify-ca&sslrootcert={file}", "127.0.0.1"),
        ("sslmode=no-verify", "127.0.0.1"),
        ("ssl=no-verify", "127.0.0.1"),
        ("sslmode=require&ssl_min_protocol_version=TLSv1.3", "127.0.0.1"),
    ],
)
async def test_tls_is_as_the_words_say(words: str, host: str, tls: TlsServer) -> None:
    assert await answer(tls.url(words.format(file=tls.certificate), host), ENCRYPTED) is True


@pytest.mark.parametrize("mode", ["require", "no-verify", "verify-full&sslrootcert={file}"])
async def test_a_certificate_of_ours_is_shown(mode: str, tls: TlsServer) -> None:
    words = f"sslmode={mode}&sslcert={{file}}&sslkey={{file}}".format(file=tls.certificate)
    who = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert await answer(tls.url(words), who) == "/CN=localhost"


@pytest.mark.parametrize(
    ("words", "host"),
    [
        ("sslmode=verify-full&sslrootcert={file}", "127.0.0.1"),
        ("sslrootcert=system", "localhost"),
        ("sslmode=verify-full&sslrootcert=system", "localhost"),
    ],
)
async def test_a_certificate_that_is_not_right_ends_it(
    words: str, host: str, tls: TlsServer
) -> None:
    with pytest.raises(ServerUnreachable, match="certificate verify failed"):
        await answer(tls.url(words.format(file=tls.certificate), host), ENCRYPTED)


async def test_a_check_without_an_authority_says_how_to_name_one(
    tls: TlsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SettingsError, match=r"root certificate .*sslrootcert=system") as caught:
        await answer(tls.url("sslmode=verify-full"), ENCRYPTED)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_of_several_hosts_the_first_that_is_there_is_taken(
    tls: TlsServer, closed_port: int
) -> None:
    hosts = f"127.0.0.1:{closed_port},localhost:{tls.port}"
    url = f"postgres://tls:{quote(PASSWORD)}@{hosts}/postgres"
    for words in ("", "?target_session_attrs=read-write", "?target_session_attrs=any"):
        assert await answer(url + words, "SELECT inet_server_port()") == tls.port
    with pytest.raises(TargetServerAttributeNotMatched):
        url = url.replace(str(closed_port), str(tls.port))
        await answer(f"{url}?target_session_attrs=standby", "SELECT 1")


async def test_what_the_server_is_told_arrives(tls: TlsServer) -> None:
    words = "application_name=me too&options=-csearch_path%3Dmine -c statement_timeout=5s"
    for name, value in {
        "application_name": "me too", "search_path": "mine", "statement_timeout": "5s",
    }.items():  # fmt: skip
        assert await answer(tls.url(words), f"SHOW {name}") == value


async def test_the_time_for_a_connection_is_the_urls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://u:p@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=0.05"
        with pytest.raises(ServerUnreachable):
            await answer(url, "SELECT 1")


@pytest.mark.parametrize("newer", [False, True], ids=["KeyError", "OSError"])
async def test_a_user_without_a_name_is_told_to_write_one(
    newer: bool, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    """As in a container that runs as a number of which its passwd knows nothing."""

    def getuser() -> str:
        nobody = KeyError("getpwuid(): uid not found: 4711")
        if newer:  # from Python 3.13 on
            raise OSError("No username set in the environment") from nobody
        raise nobody

    monkeypatch.setattr(getpass, "getuser", getuser)
    monkeypatch.delenv("PGUSER", raising=False)
    with pytest.raises(
        SettingsError, match="names no user, .*: write postgresql.*://user:password"
    ):
        await answer(f"postgres://127.0.0.1:{closed_port}/d", "SELECT 1")
    with pytest.raises(ServerUnreachable):
        await answer(f"postgres://u@127.0.0.1:{closed_port}/d", "SELECT 1")


async def test_a_pooler_may_be_named_by_the_address(database_url: str) -> None:
    with pgbouncer(database_url) as url:
        assert await answer(f"{url}&pgbouncer=true", "SELECT 1") == 1
        with pytest.raises(SettingsError, match="WORKER_DATABASE_POOLER=transaction"):
            await answer(url, "SELECT 1")
