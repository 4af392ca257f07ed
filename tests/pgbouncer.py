"""A pooling proxy before a test's database."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url


@contextmanager
def pgbouncer(database_url: str, **settings: str) -> Iterator[str]:
    """A PgBouncer; yields the URL that leads through it.

    Args:
        **settings: As in `pgbouncer.ini`; without any it pools transactions, in three connections.
    """
    program = shutil.which("pgbouncer")
    if program is None:
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer); CI has it")
    with tempfile.TemporaryDirectory(prefix="pgb-") as directory:
        Path(directory).chmod(0o777)
        config = Path(directory) / "pgbouncer.ini"
        config.write_text(_config(database_url, directory, settings))
        config.chmod(0o644)
        user, group = ("nobody", "nogroup") if os.geteuid() == 0 else (None, None)
        process = subprocess.Popen([program, "-q", str(config)], user=user, group=group)
        try:
            while not _listens(Path(directory) / ".s.PGSQL.6432"):
                assert process.poll() is None
                os.sched_yield()
            database = make_url(database_url).database
            yield f"postgresql+asyncpg://postgres@/{database}?host={directory}&port=6432"
        finally:
            process.kill()
            process.wait(10)


def _listens(path: Path) -> bool:
    """Whether it takes connections. The one that asked is none of its clients any more."""
    with socket.socket(socket.AF_UNIX) as one:
        if one.connect_ex(str(path)) != 0:
            return False
        one.shutdown(socket.SHUT_WR)
        return one.recv(1) == b""


def _config(database_url: str, directory: str, settings: dict[str, str]) -> str:
    url = make_url(database_url)
    server = {
        "host": url.host or url.query["host"],
        "port": url.port or url.query["port"],
        "user": "postgres",
        **({"password": url.password} if url.password else {}),
    }
    lines = {
        "pool_mode": "transaction",
        "default_pool_size": "3",
        "auth_type": "any",
        "listen_addr": "",
        "unix_socket_dir": directory,
        "listen_port": "6432",
        **settings,
    }
    return "\n".join(
        [
            "[databases]",
            "* = " + " ".join(f"{name}={value}" for name, value in server.items()),
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in lines.items()),
            "",
        ]
    )
