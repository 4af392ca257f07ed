"""Which application the commands run, as `worker run`, `worker api` and their log say."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from tests.processes import LoggedProcess, environment_of, run_logged
from uow import Settings
from uow.broker.redis import RedisClient, connect
from uow.embedded import EmbeddedRedis

pytestmark = pytest.mark.timeout(120)  # each of these starts several processes

MAIN = """
from uow import App, Settings

class ShopSettings(Settings):
    currency: str = "EUR"

app = App(settings=ShopSettings, modules=["shop_tasks"])
"""
TASKS = """
from uow import TaskContext, task

@task("shop.answer", durable=False)
async def answer(ctx: TaskContext) -> int:
    return 1
"""
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
READY = "uow.host: ready"
NOWHERE = "00000000-0000-0000-0000-000000000000"

Command = Callable[..., LoggedProcess]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with an application in the module `shop`."""
    (tmp_path / "shop.py").write_text(MAIN)
    (tmp_path / "shop_tasks.py").write_text(TASKS)
    return tmp_path


@pytest.fixture
def command(settings: Settings, shop: Path) -> Iterator[Command]:
    """Start `python -m uow` there."""
    started = []
    bare = settings.model_copy(update={"task_modules": ()})

    def start(*arguments: str, **more: str) -> LoggedProcess:
        environment = environment_of(bare, **{"WORKER_CURRENCY": "USD", **more})
        process = run_logged([sys.executable, "-m", "uow", *arguments], environment, cwd=shop)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill9()


async def logged(process: LoggedProcess, part: str, count: int = 1) -> list[str]:
    return await asyncio.to_thread(process.wait_for_logs, part, count, 60)


async def test_a_worker_and_the_api_say_first_which_application_it_is(command: Command) -> None:
    for arguments, end in ((["run"], READY), (["api", "--port=0"], "listening on ")):
        process = command(*arguments, WORKER_APPLICATION="shop:app")
        await logged(process, end)
        assert "INFO    uow.app: application shop:app\n" in process.lines[0], process.log
        assert process.log.count("application shop:app") == 1


async def test_an_application_that_task_modules_hide_is_told_of(
    command: Command, shop: Path
) -> None:
    (shop / "worker").mkdir()
    (shop / "worker" / "__init__.py").touch()
    (shop / "worker" / "main.py").write_text(MAIN)
    hidden = command("run", "--burst", WORKER_TASK_MODULES="shop_tasks", WORKER_CURRENCY="")
    assert await asyncio.to_thread(hidden.wait) == 0, hidden.log
    said = "uow.app: no application: WORKER_TASK_MODULES is set, so not worker.main:app from here\n"
    assert said in hidden.lines[0], hidden.log


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cancel", NOWHERE], f"{NOWHERE} not found\n"),
        (["retry", NOWHERE], f"{NOWHERE} not found\n"),
        (["queue", "take-over"], "queue 'arq:queue' is that of "),
        (["cron", "list"], "there are no schedules: "),
    ],
)
async def test_each_command_knows_the_settings_of_the_application(
    arguments: list[str], said: str, command: Command
) -> None:
    process = command(*arguments, WORKER_APPLICATION="shop:app")
    await asyncio.to_thread(process.wait)
    assert process.log.startswith(said)


async def test_a_bench_of_the_configured_servers_knows_them_too(command: Command) -> None:
    process = command("bench", "--servers", WORKER_APPLICATION="shop:app", WORKER_DATABASE_URL="")
    assert await asyncio.to_thread(process.wait) == 1
    assert "--servers measures the configured servers: set WORKER_DATABASE_URL" in process.log


@pytest.mark.parametrize("processes", [(), ("--processes=2",)], ids=["alone", "supervised"])
async def test_an_arq_class_may_be_named_with_a_colon(
    processes: tuple[str, ...], command: Command, shop: Path, redis: RedisClient,
    redis_server: EmbeddedRedis,
) -> None:  # fmt: skip
    (shop / "theirs.py").write_text(ARQ_CLASS)
    client = connect(redis_server.url)
    assert isinstance(client, ArqRedis)
    job = await client.enqueue_job("double", 21)
    assert job is not None
    socket = client.connection_pool.connection_kwargs["path"]
    process = command(
        "run", "theirs:WorkerSettings", "--burst", *processes,
        SOCKET=socket, WORKER_DATABASE_URL="",
    )  # fmt: skip
    assert await asyncio.to_thread(process.wait, 60) == 0, process.log
    assert await job.result(5) == 42
    await client.aclose()


def test_a_name_that_is_not_there_is_one_line(command: Command) -> None:
    process = command("run", "shop:ap")
    assert process.wait() == 1
    assert process.log == "worker: shop:ap: there is no ap in shop; did you mean app?\n"


@pytest.mark.parametrize("how", ["named", "in the environment"])
async def test_watch_survives_a_syntax_error_in_the_apps_module(
    how: str, command: Command, shop: Path
) -> None:
    named = ["shop:app"] if how == "named" else []
    more = {} if named else {"WORKER_APPLICATION": "shop:app"}
    (shop / "shop.py").write_text("def broken(:")
    process = command("run", *named, "--watch", WORKER_SHUTDOWN_GRACE="20", **more)
    await logged(process, "SyntaxError")
    await logged(process, "starts again when a file changes")
    (shop / "shop.py").write_text(MAIN)
    await logged(process, READY)
    assert await asyncio.to_thread(process.terminate) == 0, process.log
