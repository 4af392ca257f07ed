"""What is installed is `uow` and nothing else: whatever somebody calls ``worker`` is theirs."""

import asyncio
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from tests.processes import ROOT
from uow.broker.redis import RedisClient, connect
from uow.embedded import EmbeddedRedis

WORKER = """
import os
from arq.connections import RedisSettings

async def double(ctx, n):
    return 2 * n

class WorkerSettings:
    functions = [double]
    redis_settings = RedisSettings(unix_socket_path=os.environ["SOCKET"])
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a module where `uow` is installed and this repository is not to be found."""
    installed, here = tmp_path / "installed", tmp_path / "here"
    installed.mkdir()
    here.mkdir()
    (installed / "uow").symlink_to(ROOT / "uow")
    path = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WORKER_")}

    def command(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        # Without `site` nobody reads the .pth file of an editable installation.
        return subprocess.run(
            [sys.executable, "-S", "-m", *arguments], cwd=here,
            env={**inherited, "PYTHONPATH": path, **more},
            capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip

    return command


@pytest.mark.parametrize(
    "command",
    [
        ("arq", "worker.WorkerSettings", "--burst"),
        ("uow", "run", "worker.WorkerSettings", "--allow-pickle", "--burst"),
    ],
    ids=["arq", "uow"],
)
async def test_an_arq_class_in_a_module_called_worker_runs(
    command: tuple[str, ...], run: Run, tmp_path: Path, redis: RedisClient,
    redis_server: EmbeddedRedis,
) -> None:  # fmt: skip
    (tmp_path / "here" / "worker.py").write_text(WORKER)
    client = connect(redis_server.url)
    assert isinstance(client, ArqRedis)
    stock = ArqRedis(client.connection_pool)  # its jobs are pickle
    job = await stock.enqueue_job("double", 21)
    assert job is not None
    socket = client.connection_pool.connection_kwargs["path"]
    done = await asyncio.to_thread(run, *command, SOCKET=socket)
    assert done.returncode == 0, done.stderr
    assert await job.result(5) == 42
    await client.aclose()


@pytest.mark.parametrize("theirs", [None, "worker.py", "worker/__init__.py"])
def test_the_demo_says_where_it_is_and_imports_nothing_of_anybodys(
    theirs: str | None, run: Run, tmp_path: Path
) -> None:
    if theirs is not None:
        file = tmp_path / "here" / theirs
        file.parent.mkdir(exist_ok=True)
        file.write_text("print('imported')")
    done = run("uow", "demo")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "worker: the demo is part of the repository, and not of what is installed: in a clone of "
        "it, `uv run worker demo`\n"
    )


def test_a_package_called_worker_is_in_no_commands_way(run: Run, tmp_path: Path) -> None:
    package = tmp_path / "here" / "worker"
    package.mkdir()
    (package / "__init__.py").write_text("print('imported')")
    (package / "main.py").write_text("print('imported')")
    done = run("uow", "enqueue", "any")
    assert done.stdout == ""
    assert "there are no task functions: set WORKER_TASK_MODULES" in done.stderr
