"""A throwaway Postgres."""

import secrets
import shutil
import signal
import socket
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from uow.embedded.binaries import PostgresBinaries, Source, find_postgres
from uow.embedded.home import Home
from uow.embedded.server import EmbeddedServer

DEFAULTS = {
    "max_connections": "200",
    # In files of the data directory instead of /dev/shm, where a killed server's would stay
    # (and where containers have 64 MB).
    "dynamic_shared_memory_type": "mmap",
}

PORT = 5432
"""In the name of the Unix socket; with `tcp` it is a free one."""

INITDB_SECONDS = 60.0
"""Half a second when idle; this is for machines with other things to do."""

# The start of a connection, in Postgres' own protocol (version 3.0)
STARTUP = b"\0\3\0\0user\0postgres\0database\0postgres\0\0"
AUTHENTICATED = b"R"
TERMINATE = b"X\0\0\0\4"


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres with one superuser, `postgres`, and one database of that name.

    It trusts whoever can open its Unix socket, which lies in a private directory; with `tcp` it
    asks for a random password, which the URL contains. After `kill9` it recovers what was
    committed, for the page cache survives that even without `fsync`. (Stopped after a kill
    instead of started again, it leaves the kernel 56 bytes of shared memory.)

    Args:
        directory: As for every `EmbeddedServer`. Data of another major version do not start.
        tcp: As for every `EmbeddedServer`.
        fsync: Flush to the disk at each commit, as production does: for measurements.
        settings: Names and values as in `postgresql.conf`.
        binaries: As for every `EmbeddedServer`.
    """

    name: ClassVar[str] = "postgres"
    stop_signals: ClassVar[tuple[signal.Signals, ...]] = (
        signal.SIGINT,  # fast: roll back and end
        signal.SIGQUIT,  # immediate: end, recover at the next start
    )

    _programs: PostgresBinaries

    def __init__(
        self,
        directory: str | Path | None = None,
        *,
        tcp: bool = False,
        fsync: bool = False,
        settings: Mapping[str, str] | None = None,
        binaries: Source = "any",
    ) -> None:
        chosen = {**DEFAULTS, "fsync": "on" if fsync else "off", **(settings or {})}
        super().__init__(directory, tcp=tcp, settings=chosen, binaries=binaries)

    @property
    def url(self) -> str:
        """Of the database `postgres`, for SQLAlchemy with asyncpg."""
        return self.url_for("postgres")

    def url_for(self, database: str) -> str:
        """Of any other database, which need not exist yet."""
        home = self._current_home()
        path = quote(database, safe="")
        if self._tcp:
            password = _password_file(home).read_text()
            return f"postgresql+asyncpg://postgres:{password}@127.0.0.1:{self._port}/{path}"
        # The port is said aloud because asyncpg would take it from PGPORT.
        return f"postgresql+asyncpg://postgres@/{path}?host={quote(str(home.path))}&port={PORT}"

    @property
    def psql(self) -> list[str]:
        """A command line that opens a shell on the database `postgres`."""
        program = shutil.which("psql") or str(self._programs.postgres.with_name("psql"))
        return [program, self.url.replace("+asyncpg", "", 1)]

    def _find_program(self, home: Home, undo: ExitStack) -> None:
        self._programs = find_postgres(self._source, home.account, undo)

    def _prepare(self, home: Home, log: int) -> None:
        """Create the data directory, unless an earlier start did."""
        if (home.path / "data").exists():
            return
        unfinished = home.path / "data.new"  # may lie there since a start that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
        _write_password(home)
        child = self._run(self._initdb(home, unfinished), home, log)
        if not child.succeeds_within(INITDB_SECONDS):
            raise self._failure("could not create its data directory")
        unfinished.rename(home.path / "data")

    def _initdb(self, home: Home, data: Path) -> list[str]:
        return [
            str(self._programs.initdb),
            f"--pgdata={data}",
            "--username=postgres",
            f"--pwfile={_password_file(home)}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
        ]

    def _command(self, home: Home) -> list[str]:
        place = {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self._port or PORT),
            "unix_socket_directories": f'"{home.path}"',
            "unix_socket_permissions": "0700",
        }
        settings = {**self._settings, **place}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self._programs.postgres), "-D", str(home.path / "data"), *options]

    def _serves(self) -> bool:
        """Whether it lets a client in; while it is recovering it answers with an error."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self.directory / f".s.PGSQL.{self._port or PORT}"))
            client.sendall(struct.pack("!i", len(STARTUP) + 4) + STARTUP)
            answer = client.recv(1)
            client.sendall(TERMINATE)
        return answer == AUTHENTICATED


def _password_file(home: Home) -> Path:
    return home.path / "password"


def _write_password(home: Home) -> None:
    file = _password_file(home)
    file.unlink(missing_ok=True)
    with file.open("x") as fresh:  # not through a link, as in `Home.open_log`
        fresh.write(secrets.token_urlsafe(24))
    home.give(file)
