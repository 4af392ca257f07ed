"""The worker as a process: started, killed, stopped, without servers."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from tests.acceptance import tasks
from tests.acceptance.conftest import wait_until
from tests.processes import (
    LoggedProcess,
    WorkerProcess,
    environment_of,
    run_command,
    run_logged,
)
from tests.proxy import Proxy
from tests.redis_commands import command
from uow import Database, Settings, TaskClient, TaskState
from uow.broker.redis import RedisClient
from uow.db import migrations
from uow.db.enqueueing import NewTasks, insert
from uow.embedded import EmbeddedPostgres, EmbeddedRedis

Effects = Callable[[], Awaitable[list[str]]]
StartWorker = Callable[..., WorkerProcess]

READY = "Starting worker"

PUT_EFFECT = text("INSERT INTO task (name, args) VALUES ('accept.effect', '{\"what\": \"x\"}')")


async def test_killed_after_the_commit_and_before_the_finish_the_effect_is_there_exactly_once(
    client: TaskClient, start_worker: StartWorker, effects: Effects, redis: RedisClient
) -> None:
    handle = await client.enqueue(tasks.effect, what="once")
    killed = start_worker(FAILPOINT="committed:kill")
    assert await asyncio.to_thread(killed.wait) == -signal.SIGKILL
    assert await effects() == ["once"]
    assert await redis.zscore("arq:queue", str(handle.id)) is not None  # arq has not finished it

    second = start_worker()

    async def finished() -> bool:
        return int(await redis.zcard("arq:queue")) == 0

    await wait_until(finished)
    assert await effects() == ["once"]
    assert await handle.result(10) == "once"
    assert second.process.poll() is None


@pytest.mark.parametrize("point", ["started", "performed", "settled"])
async def test_killed_anywhere_else_the_effect_is_there_exactly_once(
    point: str, client: TaskClient, start_worker: StartWorker, effects: Effects
) -> None:
    handle = await client.enqueue(tasks.effect, what="once")
    killed = start_worker(FAILPOINT=f"{point}:kill")
    assert await asyncio.to_thread(killed.wait) == -signal.SIGKILL
    start_worker()
    assert await handle.result(20) == "once"
    assert await effects() == ["once"]


async def test_killed_between_the_callers_commit_and_the_push_the_task_runs_all_the_same(
    db: Database, start_worker: StartWorker, effects: Effects, client: TaskClient
) -> None:
    worker = start_worker()
    await asyncio.to_thread(worker.wait_for_log, READY)
    one = uuid4()
    new = NewTasks([one], ['{"what": "relayed"}'], "accept.effect", "arq:queue", announced=True)
    (made,) = await insert(db, new)
    assert made.id == one
    assert await client.handle(one).result(10) == "relayed"
    assert await effects() == ["relayed"]


async def is_running(client: TaskClient, task_id: UUID) -> bool:
    view = await client.get(task_id)
    return view is not None and view.progress == {"running": True}


async def test_sigterm_hands_a_running_task_back_and_burns_no_try(
    client: TaskClient, start_worker: StartWorker, effects: Effects
) -> None:
    handle = await client.enqueue(tasks.endless)
    first = start_worker(fresh=True)
    await wait_until(lambda: is_running(client, handle.id))
    assert await asyncio.to_thread(first.terminate) == 0
    view = await client.get(handle.id)
    assert view is not None
    assert (view.state, view.attempt, view.tries) == (TaskState.QUEUED, 1, 0)
    assert await effects() == []

    start_worker()
    await handle.result(20)
    assert await effects() == ["endless"]


async def test_a_plain_insert_is_relayed_within_two_seconds(
    db: Database, client: TaskClient, start_worker: StartWorker
) -> None:
    worker = start_worker()
    await asyncio.to_thread(worker.wait_for_log, READY)
    inserted = await db.execute_once(
        text("INSERT INTO task (name, args) VALUES (:name, CAST(:args AS jsonb)) RETURNING id"),
        {"name": "accept.effect", "args": '{"what": "by hand"}'},
    )
    assert await client.handle(inserted.scalar_one()).result(2) == "by hand"


async def test_burst_drains_the_relay_first_and_ends_when_nothing_is_due(
    db: Database, client: TaskClient, start_worker: StartWorker, effects: Effects
) -> None:
    await db.execute_once(
        text("INSERT INTO task (name, args) VALUES (:name, CAST(:args AS jsonb))"),
        {"name": "accept.effect", "args": '{"what": "unpushed"}'},
    )
    await client.enqueue(tasks.chain, length=3)
    later = await client.enqueue(tasks.effect.options(delay=50), what="later")
    worker = start_worker("--burst")
    assert await asyncio.to_thread(worker.wait) == 0, worker.log
    assert await effects() == ["unpushed"]
    left = await db.execute_once(text("SELECT count(*) FROM task WHERE settled_at IS NULL"), {})
    assert left.scalar_one() == 1
    assert await later.status() is TaskState.SCHEDULED


def start_stock_arq(settings: Settings) -> LoggedProcess:
    arq = str(Path(sys.executable).with_name("arq"))
    return run_logged([arq, "uow.main.WorkerSettings"], environment_of(settings))


async def test_the_stock_arq_command_runs_our_settings(
    client: TaskClient, settings: Settings, effects: Effects
) -> None:
    handle = await client.enqueue(tasks.effect, what="stock")
    plain = await client.enqueue(tasks.plain, n=21)
    arq = start_stock_arq(settings)
    try:
        assert await handle.result(20) == "stock"
        assert await plain.result(5) == 42
        assert await asyncio.to_thread(arq.terminate) == 0, arq.log
    finally:
        arq.kill9()
    assert "stock" not in arq.log.replace("stock_", "")
    assert await effects() == ["stock"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name)
async def test_the_stock_arq_command_stops_by_each_signal(
    client: TaskClient, settings: Settings, number: signal.Signals
) -> None:
    handle = await client.enqueue(tasks.endless)
    arq = start_stock_arq(settings)
    try:
        await wait_until(lambda: is_running(client, handle.id))
        arq.process.send_signal(number)
        assert await asyncio.to_thread(arq.wait) == 0, arq.log
    finally:
        arq.kill9()
    view = await client.get(handle.id)
    assert view is not None
    assert (view.state, view.tries) == (TaskState.QUEUED, 0)


async def test_the_stock_arq_command_ends_well_while_a_job_is_being_finished(
    client: TaskClient, settings: Settings
) -> None:
    async with EmbeddedRedis(tcp=True) as redis:
        port = urlsplit(redis.url).port
        assert port is not None
        async with Proxy("127.0.0.1", port).listening() as proxy:
            through = settings.model_copy(
                update={"redis_url": SecretStr(f"redis://127.0.0.1:{proxy.port}")}
            )
            proxy.hold_answer_to = b"arq:abort"  # which arq touches only when it finishes a job
            arq = start_stock_arq(through)
            try:
                await client.db.execute_once(PUT_EFFECT, {})
                async with asyncio.timeout(20):
                    await proxy.held.wait()
                arq.process.send_signal(signal.SIGTERM)
                # Whatever arq cancels at once it has cancelled when it has said so.
                await asyncio.to_thread(arq.wait_for_log, "shutdown on SIGTERM")
                proxy.let_go.set()
                assert await asyncio.to_thread(arq.wait) == 0, arq.log
            finally:
                arq.kill9()


async def run_worker(settings: Settings, **more: str) -> tuple[int, str]:
    process = await run_command(settings, "run", "--stock", **more)
    return process.returncode, process.stderr.strip()


async def test_postgres_unreachable_at_start_is_one_clear_line_and_exit_code_1(
    settings: Settings,
) -> None:
    code, output = await run_worker(
        settings,
        WORKER_DATABASE_URL="postgresql://u:canary-4711@127.0.0.1:1/d",
        WORKER_CONNECT_TIMEOUT="0.5",
    )
    assert code == 1
    assert "Postgres at 127.0.0.1:1/d did not answer within 0.5 s" in output
    assert "WORKER_DATABASE_URL" in output
    assert "canary-4711" not in output
    assert len(output.splitlines()) == 1


async def test_redis_unreachable_at_start_is_one_clear_line_and_exit_code_1(
    settings: Settings,
) -> None:
    code, output = await run_worker(
        settings,
        WORKER_REDIS_URL="redis://:canary-4711@127.0.0.1:1/0",
        WORKER_CONNECT_TIMEOUT="0.5",
    )
    assert code == 1
    assert "Redis at 127.0.0.1:1 did not answer within 0.5 s" in output
    assert "canary-4711" not in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    ("server", "setting", "url"),
    [
        ("Postgres at 127.0.0.1:1/d", "DATABASE", "postgresql://u:canary-4711@127.0.0.1:1/d"),
        ("Redis at 127.0.0.1:1", "REDIS", "redis://:canary-4711@127.0.0.1:1/0"),
    ],
)
async def test_whoever_starts_a_worker_is_told_which_server_it_waits_for(
    server: str, setting: str, url: str, settings: Settings
) -> None:
    more = {f"WORKER_{setting}_URL": url, "WORKER_CONNECT_TIMEOUT": "1.5"}
    code, output = await run_worker(settings, **more)
    assert code == 1
    assert f"waiting for {server}, 1.5 s at most" in output.splitlines()[0]
    assert "canary-4711" not in output
    assert len(output.splitlines()) == 2


async def test_a_redis_cluster_is_refused_with_the_reason(settings: Settings) -> None:
    async with EmbeddedRedis(tcp=True, settings={"cluster-enabled": "yes"}) as cluster:
        code, output = await run_worker(settings, WORKER_REDIS_URL=cluster.url)
    assert code == 1
    assert "is a Redis Cluster, which arq's multi-key transactions cannot use" in output
    assert len(output.splitlines()) == 1


async def test_a_right_that_is_taken_away_ends_the_stock_worker_with_the_reason(
    settings: Settings, redis: RedisClient, start_worker: StartWorker
) -> None:
    await command(redis, "ACL SETUSER leaver on >pw ~* &* +@all")
    url = settings.redis_url.get_secret_value().replace("unix://", "unix://leaver:pw@")
    worker = start_worker(WORKER_REDIS_URL=url)
    await asyncio.to_thread(worker.wait_for_log, "ready: queue")
    await command(redis, "ACL SETUSER leaver -zrangebyscore")
    assert await asyncio.to_thread(worker.wait) == 1
    await command(redis, "ACL DELUSER leaver")
    assert "Redis refuses what a worker needs: " in worker.log.splitlines()[-1]
    assert "zrangebyscore" in worker.log.splitlines()[-1]
    assert "Traceback" not in worker.log


async def test_a_wrong_database_is_told_at_once(
    settings: Settings, postgres: EmbeddedPostgres
) -> None:
    code, output = await run_worker(
        settings, WORKER_DATABASE_URL=postgres.url_for("nowhere"), WORKER_CONNECT_TIMEOUT="60"
    )
    assert code == 1
    assert 'database "nowhere" does not exist' in output


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WORKER_CONCURENCY", "5", "is not a setting; did you mean WORKER_CONCURRENCY"),
        ("WORKER_DATABASE_URL", "mysql://localhost/d", "must start with one of postgresql"),
        ("WORKER_REDIS_URL", "localhost:6379", "must start with one of redis://"),
        ("WORKER_TASK_MODULES", "no.such.module", "cannot import no.such.module"),
        ("WORKER_POOL_SIZE", "5", "WORKER_CONCURRENCY=5 does not fit WORKER_POOL_SIZE=5"),
    ],
)  # fmt: skip
async def test_a_bad_setting_is_refused_at_start_with_its_name(
    name: str, value: str, message: str, settings: Settings
) -> None:
    code, output = await run_worker(settings, **{name: value})
    assert code == 1
    assert message in output
    assert len(output.splitlines()) == 1


async def test_a_database_that_was_not_migrated_is_refused_with_the_command(
    settings: Settings, empty_database_url: str
) -> None:
    code, output = await run_worker(settings, WORKER_DATABASE_URL=empty_database_url)
    assert code == 1
    assert "run `worker migrate` first" in output


async def test_the_worker_works_with_tables_in_a_schema_of_their_own(
    settings: Settings, empty_database_url: str, start_worker: StartWorker
) -> None:
    ours = settings.model_copy(
        update={"database_url": SecretStr(empty_database_url), "database_schema": "jobs"}
    )
    async with Database.from_settings(ours.require_database()) as db:
        await migrations.upgrade(db)
        await db.execute_once(text("CREATE TABLE effect (what text)"), {})
        async with TaskClient.from_settings(ours, db=db) as client:
            handle = await client.enqueue(tasks.effect, what="elsewhere")
            by_hand = await db.execute_once(
                text("INSERT INTO jobs.task (name, args) VALUES (:n, :a) RETURNING id").bindparams(
                    bindparam("a", type_=JSONB)
                ),
                {"n": "accept.effect", "a": {"what": "notified"}},
            )  # fmt: skip
            worker = start_worker(
                WORKER_DATABASE_URL=empty_database_url, WORKER_DATABASE_SCHEMA="jobs"
            )
            assert await handle.result(20) == "elsewhere", worker.log
            assert await client.handle(by_hand.scalar_one()).result(5) == "notified"


DIES_AT_ITS_FIRST_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "uow.cli":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["run", *sys.argv[1:]]
from uow.__main__ import main
main()
"""


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["worker", "supervisor"])
async def test_a_sigterm_before_anything_is_imported_ends_a_process_well(
    settings: Settings, options: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", DIES_AT_ITS_FIRST_IMPORT, *options]
    process = run_logged(command, environment_of(settings))
    assert await asyncio.to_thread(process.wait) == 0, process.log
    process.kill9()


def test_the_failpoints_are_off_unless_asked_for() -> None:
    assert "FAILPOINT" not in os.environ
