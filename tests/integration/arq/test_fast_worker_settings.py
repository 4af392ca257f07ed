"""Anybody's arq settings class on our worker, and what is refused in one."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis, RedisSettings
from arq.worker import get_kwargs

from tests.integration.arq import fleet
from tests.integration.arq.conftest import until
from tests.processes import ROOT
from uow import exhaustion
from uow.embedded import EmbeddedRedis
from uow.errors import Exhausted, ServerUnreachable, SettingsError
from uow.fast.arq.settings_class import find, options_of
from uow.fast.worker import FastWorker
from uow.process.signals import STOP_SIGNALS
from uow.run import create_worker, run_worker

FLEET = "tests.integration.arq.fleet"


def load(path: str, *, allow_pickle: bool = False) -> dict[str, Any]:
    return options_of(find(path), path, allow_pickle=allow_pickle)


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


async def test_methods_of_the_class_are_hooks_and_others_are_its_own() -> None:
    read = load(f"{FLEET}.WithStatic")
    serializers = {"job_serializer", "job_deserializer"}
    assert set(read) == {"functions", "on_startup", "on_shutdown", *serializers}
    ctx: dict[str, object] = {}
    await read["on_startup"](ctx)
    await read["on_shutdown"](ctx)
    assert ctx == {"started by": "WithStatic", "stopped": True}


async def test_our_own_settings_in_such_a_class() -> None:
    worker = FastWorker(**load(f"{FLEET}.WithQueues"), handle_signals=False)
    assert worker.queues == {"high": 3.0, "low": 1.0}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("not_settings", "is a int, not a class or a dict"),
        ("WorkerSetting", "there is no WorkerSetting in .*fleet; did you mean WorkerSettings?"),
        ("WorkerSettings", "has no job_serializer and no job_deserializer, so jobs are pickle"),
        ("HalfJson", "has no job_deserializer, so jobs are pickle.*--allow-pickle"),
    ],
)
def test_what_is_refused(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"{FLEET}.{name}.*{said.replace('?', '[?]')}"):
        load(f"{FLEET}.{name}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Misspelt", "max_job, did you mean max_jobs?"),
        ("OtherWords",
         "job_results_ttl, did you mean keep_result?; max_retries, did you mean max_tries?"),
        ("MisspeltHook", "on_start_up, did you mean on_startup?"),
        ("Unknown", "REDIS_URL; greeting"),
    ],
)  # fmt: skip
def test_an_unknown_value_is_ignored_and_named_with_the_word_that_was_meant(
    name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    read = load(f"{FLEET}.{name}")
    assert "functions" in read
    [told] = caplog.messages
    assert told == (
        f"{FLEET}.{name}: ignored, for neither arq nor we have such a setting: {said} (a leading "
        "underscore makes a name your own)"
    )


def test_functions_classes_and_modules_in_the_class_are_its_own_business(
    caplog: pytest.LogCaptureFixture,
) -> None:
    read = load(f"{FLEET}.WithCode")
    assert read["on_startup"] is fleet.WithCode.startup
    assert set(read) == {*load(f"{FLEET}.Inherited")}
    assert caplog.messages == []


def test_an_instance_of_a_settings_class_will_do_too() -> None:
    assert load(f"{FLEET}.an_instance")["max_jobs"] == 4


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"functions": [], "cron_jobs": ()}, "it has no functions and no cron_jobs"),
        ({"functions": "app.jobs.send"}, "functions is a str, not a list"),
        ({"functions": [f"{FLEET}.double", f"{FLEET}.nothing"]},
         f"functions: '{FLEET}.nothing' cannot be run: ImportError: .* does not define"),
        ({"functions": ["nowhere.send"]},
         "functions: 'nowhere.send' cannot be run: ModuleNotFoundError: No module named 'nowhere'"),
        ({"functions": [print]}, "functions: print cannot be run: .* not a coroutine function"),
        ({"redis_settings": "redis://:secret@there"}, r"redis_settings is a text: write .*_dsn"),
        ({"redis_settings": RedisSettings}, "redis_settings was not called, it is RedisSettings"),
        ({"redis_settings": RedisSettings.from_dsn}, "redis_settings was not called, it is from_"),
        ({"redis_settings": {"host": "there"}}, "redis_settings is a dict: write"),
        ({"timezone": "Europe/Berlin"}, r"timezone is a text: write zoneinfo.ZoneInfo\('Europe/B"),
        ({"timezone": 2}, "timezone is a int: write"),
        ({"cron_jobs": [fleet.tick]}, "cron_jobs, must be instances of CronJob"),
        ({"on_startup": "app.start"}, "on_startup is a str, not a function"),
        ({"max_jobs": "10"}, "max_jobs is a str, not a number"),
        ({"max_jobs": None}, "TypeError"),
        ({"job_timeout": "1h"}, "job_timeout is a str, not a number"),
        ({"queue_name": None}, "queue_name is absent"),
    ],
    ids=lambda given: repr(given).split(" at 0x")[0],
)  # fmt: skip
async def test_a_setting_of_a_wrong_kind_is_one_line_and_tells_no_secret(
    option: dict[str, Any], said: str
) -> None:
    """Under arq each is a traceback, some of them an hour later."""
    with pytest.raises(SettingsError, match=f"^Inherited: .*{said}") as raised:
        create_worker(fleet.Inherited, **option)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_arqs_create_worker_with_our_engine(client: ArqRedis) -> None:
    job = await client.enqueue_job("double", 21)
    assert job is not None
    settings = RedisSettings(unix_socket_path=client.connection_pool.connection_kwargs["path"])
    options = {"redis_settings": settings, "burst": True, "handle_signals": False}
    worker = create_worker(fleet.WorkerSettings, allow_pickle=True, **options)
    assert await worker.run_check() == 1
    await worker.close()
    assert await job.result() == 42
    with pytest.raises(SettingsError, match="allow_pickle=True"):
        create_worker(fleet.WorkerSettings)


async def run_in_a_thread(client: ArqRedis, **options: Any) -> FastWorker:
    """`run_worker`, with an event loop of its own."""

    def run() -> FastWorker:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            return run_worker(fleet.WorkerSettings, allow_pickle=True, **options)
        finally:
            loop.close()

    socket = client.connection_pool.connection_kwargs["path"]
    options |= {"redis_settings": RedisSettings(unix_socket_path=socket), "handle_signals": False}
    return await asyncio.to_thread(run)


async def test_arqs_run_worker_with_our_engine(client: ArqRedis) -> None:
    job = await client.enqueue_job("double", 21)
    assert job is not None
    worker = await run_in_a_thread(client, burst=True)
    assert worker.jobs_complete == 1
    assert await job.result() == 42


async def test_who_handles_no_signals_ends_all_the_same_when_its_process_cannot_go_on(
    client: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Exhausted("no file descriptors")
    monkeypatch.setattr(type(exhaustion.here), "hopeless", lambda _: end)
    with pytest.raises(Exhausted, match="no file descriptors"):
        await run_in_a_thread(client)


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

class ByMyself(WorkerSettings):
    handle_signals = False
"""

LOGGING = """
import app, logging

class Mine(app.WorkerSettings):
    @staticmethod
    async def on_startup(ctx):
        logging.getLogger("library").info("told a secret")
        logging.getLogger("uow.fast").info("ours")
        logging.getLogger("uow.fast").debug("ours in detail")

config = dict(
    version=1,
    formatters=dict(own=dict(format="own: %(name)s %(message)s")),
    handlers=dict(own={"class": "logging.StreamHandler", "formatter": "own"}),
    loggers=dict(arq=dict(handlers=["own"], level="INFO")),
)

class Basic(Mine):
    logging.basicConfig(format="own: %(name)s %(message)s")
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def own_redis() -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def start(redis_server: EmbeddedRedis, tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def run(
        *arguments: str,
        server: EmbeddedRedis = redis_server,
        name: str = "app.WorkerSettings",
        logging: str = "",
    ) -> subprocess.Popen[str]:
        socket = server.url.removeprefix("unix://").partition("?")[0]
        (tmp_path / "app.py").write_text(APP.format(socket=socket))
        (tmp_path / "logs.py").write_text(logging)
        process = subprocess.Popen(
            [sys.executable, "-m", "uow", "run", name, *arguments],
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


# -- signals, health and logs ----------------------------------------------------------------------


async def lingers(client: ArqRedis) -> None:
    await client.enqueue_job("linger", _job_id="one")
    await until(lambda: client.exists("arq:in-progress:one"), timeout=30)


async def test_who_handles_no_signals_is_ended_by_sigterm_and_told_what_that_means(
    client: ArqRedis, start: Start
) -> None:
    process = start("--allow-pickle", name="app.ByMyself")
    await lingers(client)
    process.terminate()
    said, _ = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert await client.exists("arq:in-progress:one"), "nothing was handed back"
    assert "handle_signals = False" in said
    assert "jobs that run are not handed back but start again" in said


async def test_who_handles_no_signals_hands_back_on_ctrl_c_as_under_arq(
    client: ArqRedis, start: Start
) -> None:
    process = start("--allow-pickle", name="app.ByMyself")
    await lingers(client)
    process.send_signal(signal.SIGINT)
    await asyncio.to_thread(process.communicate, timeout=30)
    assert await client.zcard("arq:queue") == 1
    assert not await client.exists("arq:in-progress:one")


async def test_a_handler_of_the_applications_own_is_left_to_it(
    client: ArqRedis, start: Start
) -> None:
    own = "import app, os, signal\nclass Own(app.ByMyself): ...\n"
    own += "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
    process = start("--allow-pickle", name="logs.Own", logging=own)
    await lingers(client)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 10) == 7


async def test_the_health_of_a_worker_is_asked_as_with_arq(client: ArqRedis, start: Start) -> None:
    process = start("--check")
    said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert "Health check failed: no health check sentinel value found" in said
    await client.set("arq:queue:health-check", "Nov-26 j_complete=7")
    process = start("--check")
    said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0
    assert "Health check successful: b'Nov-26 j_complete=7'" in said


@pytest.mark.parametrize(
    ("arguments", "name", "lines"),
    [
        ((), "Mine", ["INFO    arq.worker: Starting", "INFO    uow.fast: ours"]),
        (("-v",), "Mine", ["INFO    uow.fast: ours", "DEBUG   uow.fast: ours in detail"]),
        ((), "Basic", ["own: arq.worker Starting", "own: uow.fast ours"]),
        (("--custom-log-dict", "logs.config"), "Mine",
         ["own: arq.worker Starting", "INFO    uow.fast: ours"]),
    ],
    ids=["nobody", "verbose", "basicConfig", "dict"],
)  # fmt: skip
async def test_what_is_logged_is_said_once_and_libraries_say_nothing(
    client: ArqRedis, start: Start, arguments: tuple[str, ...], name: str, lines: list[str]
) -> None:
    config = LOGGING if name == "Basic" else LOGGING.partition("class Basic")[0]
    process = start("--allow-pickle", "--burst", *arguments, name=f"logs.{name}", logging=config)
    said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0, said
    for line in lines:
        assert said.count(line) == 1, said
    assert said.count("Starting worker for") == 1
    assert "secret" not in said
    assert ("in detail" in said) == ("-v" in arguments)


async def test_a_dict_for_the_log_that_is_none_is_one_line(start: Start) -> None:
    process = start("--allow-pickle", "--custom-log-dict", "app.nothing")
    said, _ = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 1
    assert said.startswith("worker: --custom-log-dict app.nothing: AttributeError: ")
    assert len(said.splitlines()) == 1
