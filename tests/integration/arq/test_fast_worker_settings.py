"""Anybody's arq settings class on our worker, and what is refused in one."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis, RedisSettings
from arq.worker import get_kwargs

from tests.integration.arq import fleet
from tests.integration.arq.conftest import until
from tests.processes import ROOT
from worker.embedded import EmbeddedRedis
from worker.errors import ServerUnreachable, SettingsError
from worker.fast.arq_settings import load
from worker.fast.worker import FastWorker
from worker.signals import STOP_SIGNALS

FLEET = "tests.integration.arq.fleet"


def test_a_stock_class_is_read_as_arq_reads_it() -> None:
    read = load(f"{FLEET}.WorkerSettings", allow_pickle=True)
    assert read == get_kwargs(fleet.WorkerSettings)  # type: ignore[arg-type]
    assert read["max_jobs"] == 7


def test_settings_are_inherited() -> None:
    """arq reads the class's own names only, and drops the others in silence."""
    read = load(f"{FLEET}.Inherited")
    assert (read["max_jobs"], read["job_timeout"], read["queue_name"]) == (3, 60, "inherited")
    assert read["on_startup"] is fleet.startup
    assert "functions" not in get_kwargs(fleet.Inherited)  # type: ignore[arg-type]


def test_a_dict_and_a_colon_will_do_too() -> None:
    assert load(f"{FLEET}:as_dict")["max_jobs"] == 2


async def test_static_methods_are_hooks_and_other_methods_are_the_classs_own() -> None:
    read = load(f"{FLEET}.WithStatic")
    assert set(read) == {"functions", "on_shutdown", "job_serializer", "job_deserializer"}
    ctx: dict[str, bool] = {}
    await read["on_shutdown"](ctx)
    assert ctx == {"stopped": True}


async def test_our_own_settings_in_such_a_class() -> None:
    worker = FastWorker(**load(f"{FLEET}.WithQueues"), handle_signals=False)
    assert worker.queues == {"high": 3.0, "low": 1.0}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Misspelt", "max_job is neither a setting of arq nor of ours; did you mean max_jobs?"),
        ("MisspeltHook", "on_start_up is neither .*; did you mean on_startup?"),
        ("Unknown", "REDIS_URL is neither .*; a leading underscore makes it your own"),
        ("not_settings", "is a int, not a class or a dict"),
        ("WorkerSetting", "there is no WorkerSetting in .*fleet; did you mean WorkerSettings?"),
        ("WorkerSettings", "has no job_serializer and no job_deserializer, so jobs are pickle"),
        ("HalfJson", "has no job_deserializer, so jobs are pickle.*--allow-pickle"),
    ],
)
def test_what_is_refused(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"{FLEET}.{name}.*{said.replace('?', '[?]')}"):
        load(f"{FLEET}.{name}")


@pytest.mark.parametrize("path", ["nowhere.WorkerSettings", f"{FLEET}.nowhere.Settings"])
def test_a_module_that_is_not_there(path: str) -> None:
    with pytest.raises(SettingsError, match="there is no module"):
        load(path)


@pytest.mark.parametrize("path", ["WorkerSettings", "", ".Settings"])
def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(SettingsError, match=r"expected module\.Name"):
        load(path)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import wor", r"ModuleNotFoundError: No module named 'wor' \(worbroken.py:1\)"),
        ("\nint.nothing", r"AttributeError: .* has no attribute 'nothing' \(worbroken.py:2\)"),
        ("import os\n\nos.environ['NOT_SET']", r"KeyError: 'NOT_SET' \(worbroken.py:3\)"),
        ("def", r"SyntaxError: invalid syntax \(worbroken.py, line 1\)"),
    ],
)
def test_an_error_inside_the_module_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: str
) -> None:
    (tmp_path / "worbroken.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SettingsError, match=f"worbroken.Settings: cannot import worbroken: {error}"
    ):
        load("worbroken.Settings")


@pytest.mark.parametrize("imported", [True, False])
def test_a_module_in_place_of_a_class_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: bool
) -> None:
    package = tmp_path / f"worpackage{imported}"
    package.mkdir()
    (package / "__init__.py").write_text("from . import tasks" if imported else "")
    (package / "tasks.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match=r"tasks is a module; which class in it\?"):
        load(f"{package.name}.tasks")


# -- as a process ----------------------------------------------------------------------------------

APP = """
import asyncio
from arq.connections import RedisSettings

async def double(ctx, number):
    return number * 2

async def linger(ctx):
    await asyncio.Event().wait()

class WorkerSettings:
    functions = [double, linger]
    redis_settings = RedisSettings(unix_socket_path="{socket}")
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def start(redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, server: EmbeddedRedis = redis_server) -> subprocess.Popen[str]:
        socket = server.url.removeprefix("unix://").partition("?")[0]
        (tmp_path / "app.py").write_text(APP.format(socket=socket))
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run", "app.WorkerSettings", *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_the_command_refuses_pickle_without_being_told(start: Start) -> None:
    process = start()
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "who can write to Redis can run code here" in " ".join(said.split())


async def test_a_redis_that_is_not_there_at_the_start_is_told_with_its_address() -> None:
    nowhere = RedisSettings(port=1, conn_retries=0)
    worker = FastWorker(functions=[fleet.startup], redis_settings=nowhere, handle_signals=False)
    with pytest.raises(ServerUnreachable, match=r"no Redis \(.*localhost:1.*is redis_settings"):
        await worker.async_run()
    await worker.close()


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
async def test_a_stock_class_runs_unchanged_as_a_process(
    client: ArqRedis, start: Start, number: signal.Signals
) -> None:
    process = start("--allow-pickle")
    job = await client.enqueue_job("double", 21)
    assert job is not None
    assert await job.result(timeout=20, poll_delay=0.01) == 42
    await client.enqueue_job("linger", _job_id="one")
    await until(lambda: client.exists("arq:in-progress:one"))
    process.send_signal(number)
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert await client.zcard("arq:queue") == 1
    left = {b"arq:result:" + job.job_id.encode(), b"arq:job:one"}
    assert set(await client.keys("arq:[^q]*")) == left
    assert not await client.exists("arq:queue:health-check")


async def test_a_burst_of_a_stock_class_ends(client: ArqRedis, start: Start) -> None:
    job = await client.enqueue_job("double", 21)
    assert job is not None
    process = start("--allow-pickle", "--burst")
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert await job.result() == 42


async def test_sigterm_ends_a_process_whose_redis_hangs(
    own_redis: EmbeddedRedis, start: Start
) -> None:
    """Under arq it does not: there is no limit of time on its connection."""
    process = start("--allow-pickle", server=own_redis)
    assert process.stdout is not None
    while "redis_version" not in await asyncio.to_thread(process.stdout.readline):
        assert process.poll() is None
    own_redis.pause()
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.to_thread(process.wait, 5)
    finally:
        own_redis.resume()
