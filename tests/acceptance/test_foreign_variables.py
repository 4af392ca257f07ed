"""Variables with our prefix that are not meant for what is run, but for another application."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from tests.processes import ROOT
from uow.broker.redis import RedisClient, connect
from uow.embedded import EmbeddedRedis
from uow.proofs.chaos.system import open_our_worker

FOREIGN = {
    "WORKER_TASK_MODULES": "no.such",
    "WORKER_CONCURRENCY": "auto",
    "WORKER_CONCURENCY": "5",
    "WORKER_DATABASE_SCHEMA": "theirs",
    "WORKER_JOB_TIMEOUT": "5",
    "WORKER_NAME": "theirs",
}

ARQ_CLASS = """
import os
from arq.connections import RedisSettings
from uow.broker import codec

async def double(ctx, n):
    return 2 * n

class WorkerSettings:
    functions = [double]
    redis_settings = RedisSettings(unix_socket_path=os.environ["SOCKET"])
    job_serializer, job_deserializer = codec.serialize, codec.deserialize
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with another application's `.env`; whoever runs the servers can reach it."""
    with tempfile.TemporaryDirectory(prefix="theirs-") as directory:
        path = Path(directory)
        path.chmod(0o755)
        (path / ".env").write_text("".join(f"{k}={v}\n" for k, v in FOREIGN.items()))
        yield path


def run(place: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORKER_")}
    environment = {
        **inherited, **FOREIGN, "PYTHONPATH": str(ROOT), "TMPDIR": str(place), **more,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "uow", *arguments],
        cwd=place, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@pytest.mark.timeout(120)
def test_the_demo_needs_nothing_configured_and_heeds_nothing(place: Path) -> None:
    (place / "users.csv").write_text("username,email\nann,ann@example.org\n")
    done = run(place, "demo", "--users=users.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr


@pytest.mark.timeout(120)
def test_throwaway_servers_are_measured_as_they_are(place: Path) -> None:
    done = run(place, "bench", "--jobs=10", "--only=no-op")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr


async def test_chaos_is_done_to_workers_that_heed_nothing(
    empty_database_url: str,
    redis_server: EmbeddedRedis,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    async with open_our_worker(empty_database_url, redis_server.url) as system:
        assert await system.unfinished() == 0  # in the tables of `public`


@pytest.mark.parametrize("processes", [(), ("--processes=2",)], ids=["alone", "supervised"])
async def test_somebodys_arq_class_runs_beside_its_applications_own_variables(
    processes: tuple[str, ...], redis: RedisClient, redis_server: EmbeddedRedis, place: Path
) -> None:
    (place / "theirs.py").write_text(ARQ_CLASS)
    client = connect(redis_server.url)
    assert isinstance(client, ArqRedis)
    job = await client.enqueue_job("double", 21)
    assert job is not None
    socket = client.connection_pool.connection_kwargs["path"]
    done = await asyncio.to_thread(
        run, place, "run", "theirs.WorkerSettings", "--burst", *processes,
        SOCKET=socket, WORKER_LOG_LEVEL="warning",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert await job.result(5) == 42
    assert "double" not in done.stderr  # the log level alone is read
    await client.aclose()
