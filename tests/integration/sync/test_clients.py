"""`uow.sync.TaskClient`: its own transactions, handles, threads, forks, servers that are away."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

import uow.sync
from tests.conftest import Drain
from tests.pgbouncer import pgbouncer
from tests.processes import ROOT, environment_of
from uow import (
    Cancel,
    Database,
    EnqueueError,
    InvalidArguments,
    InvalidOptions,
    SchemaError,
    Settings,
    SettingsError,
    TaskCancelled,
    TaskContext,
    TaskFailed,
    TaskFunction,
    TaskNotFound,
    TaskState,
    UniqueKeyTaken,
    task,
)
from uow.broker import blocking, keys
from uow.broker.redis import RedisClient
from uow.errors import ClientClosed, ServerUnreachable
from uow.services.relay import Relay
from uow.sync import driver, handle
from uow.tasks.registry import Registry

Client = uow.sync.TaskClient

SQLITE = create_engine("sqlite://")


@pytest.fixture
def raw_redis(settings: Settings, redis: RedisClient) -> Iterator[Redis]:
    made = blocking.connect(settings.redis_url.get_secret_value())
    yield made
    made.close()


def changed(settings: Settings, **more: object) -> Settings:
    return settings.model_copy(update=more)


@pytest.fixture
def plain(registry: Registry) -> TaskFunction[..., int]:
    @task("plain", durable=False, registry=registry)
    async def plain(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return plain


class TestEnqueueing:
    async def test_what_it_returns_is_committed_pushed_and_run(
        self, sync_client: Client, double: TaskFunction[..., int], raw_redis: Redis, drain: Drain
    ) -> None:
        """In a thread whose event loop runs, as that of an async view of Django's."""
        found = sync_client.enqueue(double, n=21)
        assert found.status() is TaskState.QUEUED
        sync_client.flush()
        assert raw_redis.zcard("arq:queue") == 1
        await drain()
        assert found.result(10) == 42

    def test_many_are_one_transaction(
        self, sync_client: Client, double: TaskFunction[..., int], raw_redis: Redis, engine: Engine
    ) -> None:
        found = sync_client.enqueue_many(double, [{"n": n} for n in range(4_500)])
        sync_client.flush()
        assert len({one.id for one in found}) == raw_redis.zcard("arq:queue") == 4_500
        with engine.connect() as connection:
            counted = connection.execute(text("SELECT count(DISTINCT xmin::text) FROM worker.task"))
            assert counted.scalar_one() == 1
        assert sync_client.enqueue_many(double, []) == []

    def test_texts_of_many_are_what_was_given(self, sync_client: Client) -> None:
        odd = [
            "",
            "NULL",
            '"',
            "\\",
            '\\"',
            "a,b",
            "{x}",
            " x ",
            "\t\n",
            "it's",
            "%s %%",
            "ü😀",
            ":x",
        ]
        found = sync_client.enqueue_many("elsewhere", [{"what": one} for one in odd])
        views = [sync_client.get(one.id) for one in found]
        assert [view and view.args["what"] for view in views] == odd

    def test_a_unique_key_gives_the_task_that_is_there(
        self, sync_client: Client, double: TaskFunction[..., int], raw_redis: Redis
    ) -> None:
        configured = double.options(unique_key="k")
        first, again = sync_client.enqueue(configured, n=1), sync_client.enqueue(configured, n=1)
        assert (first.created, again.created, first.id == again.id) == (True, False, True)
        sync_client.flush()
        assert raw_redis.zcard("arq:queue") == 1

    async def test_a_rowless_task_is_pushed_and_read_back(
        self, sync_client: Client, plain: TaskFunction[..., int], drain: Drain
    ) -> None:
        found = sync_client.enqueue(plain, n=21)
        assert found.status() is TaskState.QUEUED
        with pytest.raises(InvalidOptions, match="no row that could be cancelled"):
            found.cancel()
        with pytest.raises(TimeoutError):
            found.result(0.01)
        await drain()
        assert found.result(10) == 42

    def test_what_does_not_fit_is_refused(
        self, sync_client: Client, double: TaskFunction[..., int], engine: Engine
    ) -> None:
        with pytest.raises(InvalidArguments):
            sync_client.enqueue(double, n="many")
        with pytest.raises(InvalidArguments, match="need their names"):
            sync_client.enqueue("elsewhere", 1)  # type: ignore[call-overload]
        with pytest.raises(InvalidOptions, match="for a session of yours"):
            sync_client.enqueue(double.options(bind=engine), n=1)
        with pytest.raises(EnqueueError, match="int is no task function"):
            sync_client.enqueue(1, n=1)  # type: ignore[call-overload]
        with engine.connect() as connection:
            assert connection.execute(text("SELECT FROM worker.task")).all() == []

    def test_a_client_on_the_services_own_engine(
        self, engine: Engine, settings: Settings, double: TaskFunction[..., int], raw_redis: Redis
    ) -> None:
        with Client.from_settings(settings, engine=engine) as client:
            client.enqueue(double, n=1)
            client.enqueue(double.options(unique_key="k"), n=1)
            with Session(engine) as session, session.begin():
                uow.sync.enqueue(session, double, n=1)
        assert raw_redis.zcard("arq:queue") == 3, "close() has pushed them"
        with engine.connect() as connection:  # nothing of us is left in it
            assert connection.get_isolation_level() == "READ COMMITTED"
            assert not connection.connection.dbapi_connection.autocommit  # type: ignore[union-attr]

    def test_an_engine_that_it_cannot_work_on_is_refused(self, settings: Settings) -> None:
        asyncios = create_async_engine(settings.require_database().url)
        wrong: dict[str, list[Any]] = {
            "asyncio's": [asyncios, asyncios.sync_engine, 1],
            "sqlite": [SQLITE],
        }
        for said, engines in wrong.items():
            for engine in engines:
                with pytest.raises(InvalidOptions, match=said):
                    Client.from_settings(settings, engine=engine)


class TestAsked:
    async def test_a_failed_and_a_cancelled_task_say_so(
        self, sync_client: Client, registry: Registry, drain: Drain
    ) -> None:
        @task("fails", max_tries=1, registry=registry)
        async def fails(ctx: TaskContext) -> None:
            raise ValueError("no")

        @task("cancels", registry=registry)
        async def cancels(ctx: TaskContext) -> None:
            raise Cancel("not needed")

        failed, cancelled = sync_client.enqueue(fails), sync_client.enqueue(cancels)
        await drain()
        with pytest.raises(TaskFailed, match="ValueError: no"):
            failed.result(10)
        with pytest.raises(TaskCancelled, match="not needed"):
            cancelled.result(10)
        view = sync_client.get(failed.id)
        assert view is not None
        assert [error.message for error in view.errors] == ["no"]
        assert sync_client.handle(failed.id).status() is TaskState.FAILED

    def test_cancel_and_retry_decide_once(
        self, sync_client: Client, double: TaskFunction[..., int], raw_redis: Redis
    ) -> None:
        found = sync_client.enqueue(double, n=1)
        assert [found.cancel(), found.cancel()] == [True, False]
        assert [found.retry(), found.retry()] == [True, False]
        assert sync_client.cancel(found.id)
        assert sync_client.retry_many(name="double", state="cancelled") == 1
        sync_client.flush()
        assert raw_redis.zcard("arq:queue") == 1

    def test_retry_onto_a_key_that_is_taken_names_both(
        self, sync_client: Client, double: TaskFunction[..., int]
    ) -> None:
        first = sync_client.enqueue(double.options(unique_key="k"), n=1)
        first.cancel()
        second = sync_client.enqueue(double.options(unique_key="k"), n=1)
        with pytest.raises(UniqueKeyTaken, match=f"{first.id} cannot .* {second.id} has"):
            first.retry()
        assert sync_client.retry_many(name="double", state="both") == 0

    def test_what_is_not_there(self, sync_client: Client) -> None:
        assert sync_client.get(uuid4()) is None
        assert not sync_client.cancel(uuid4())
        with pytest.raises(TaskNotFound):
            sync_client.retry(uuid4())
        with pytest.raises(TaskNotFound, match="was its transaction committed"):
            sync_client.handle(uuid4()).result(10)

    def test_result_takes_no_longer_than_it_may(
        self, sync_client: Client, double: TaskFunction[..., int]
    ) -> None:
        found = sync_client.enqueue(double, n=1)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"was not settled within 0\.2 s"):
            found.result(0.2)
        assert 0.2 <= time.monotonic() - began < 5

    def test_result_is_woken_by_a_hint(
        self, sync_client: Client, double: TaskFunction[..., int], raw_redis: Redis,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(handle, "POLL_SECONDS", (40.0, 40.0))
        found = sync_client.enqueue(double, n=1)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(found.result, 30)
            channel: Any = keys.settled_channel(str(found.id))
            until = time.monotonic() + 10
            listeners: Any = 0
            while not listeners:
                answer: Any = raw_redis.pubsub_numsub(channel)
                ((_, listeners),) = answer
                assert time.monotonic() < until
            sync_client.cancel(found.id)
            with pytest.raises(TaskCancelled):
                waiting.result(10)

    def test_a_client_that_is_closed_in_the_middle_leaves_no_connection_behind(
        self, sync_client: Client
    ) -> None:
        with sync_client._db.transaction() as (connection, _):
            driver = connection.connection.dbapi_connection
            sync_client.close()
        assert driver is not None
        assert driver.closed

    def test_a_closed_client_says_so(
        self, sync_client: Client, double: TaskFunction[..., int]
    ) -> None:
        found = sync_client.enqueue(double, n=1)
        sync_client.close()
        sync_client.close()
        for ask in (lambda: sync_client.enqueue(double, n=1), found.status, sync_client.__enter__):
            with pytest.raises(ClientClosed):
                ask()


class TestThreads:
    def test_of_a_pool_enqueue_at_once_on_one_client(
        self, driver_name: str, settings: Settings, double: TaskFunction[..., int], raw_redis: Redis
    ) -> None:
        together = threading.Barrier(16)

        def work(n: int) -> set[object]:
            together.wait()
            return {client.enqueue(double, n=n).id for _ in range(25)}

        with Client.from_settings(changed(settings, pool_size=3)) as client:
            with ThreadPoolExecutor(16) as pool:
                ids = set().union(*pool.map(work, range(16)))
            client.flush()
        assert len(ids) == raw_redis.zcard("arq:queue") == 400

    def test_that_cannot_be_had_leave_the_push_to_the_relay(
        self, sync_client: Client, double: TaskFunction[..., int], raw_redis: Redis,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        def refused(_: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refused)
        assert sync_client.enqueue(double, n=1).status() is TaskState.QUEUED


class TestPostgres:
    def test_a_connection_that_was_ended_while_it_stood_idle_is_nobodys_error(
        self, sync_client: Client, double: TaskFunction[..., int], engine: Engine
    ) -> None:
        sync_client.enqueue(double, n=1)
        with engine.begin() as connection:
            ended = connection.execute(text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            ))  # fmt: skip
            assert ended.all() == [(True,)]
        assert sync_client.enqueue(double, n=2).status() is TaskState.QUEUED

    def test_a_connection_that_is_lost_in_the_middle_is_told_in_one_line(
        self, sync_client: Client, double: TaskFunction[..., int], engine: Engine
    ) -> None:
        with locked(engine) as end_whoever_waits, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(sync_client.enqueue, double, n=1)
            end_whoever_waits()
            with pytest.raises(ServerUnreachable, match="lost.*it may have done") as caught:
                waiting.result(10)
        assert "\n" not in str(caught.value)
        sync_client.enqueue(double, n=1)

    def test_a_row_that_is_locked_for_too_long_is_told(
        self, driver_name: str, settings: Settings, double: TaskFunction[..., int], engine: Engine,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(driver, "_OURS", driver._OURS.replace("'30s'", "'50ms'"))
        with Client.from_settings(settings) as client, locked(engine):
            with pytest.raises(ServerUnreachable, match="is a row locked"):
                client.enqueue(double, n=1)

    def test_a_server_that_is_not_there_is_told_in_one_line_without_the_password(
        self, driver_name: str, settings: Settings, double: TaskFunction[..., int]
    ) -> None:
        url = SecretStr("postgresql+asyncpg://me:s3cret@127.0.0.1:1/name")
        with Client.from_settings(changed(settings, database_url=url)) as client:
            with pytest.raises(ServerUnreachable, match="Postgres cannot be reached") as caught:
                client.enqueue(double, n=1)
        assert "\n" not in str(caught.value)
        assert "s3cret" not in str(caught.value)

    def test_a_word_of_the_url_that_libpq_does_not_know(
        self, driver_name: str, settings: Settings, double: TaskFunction[..., int]
    ) -> None:
        url = SecretStr("postgresql://me@127.0.0.1:1/name?gsslib=gssapi&servicefile=x")
        with Client.from_settings(changed(settings, database_url=url)) as client:
            with pytest.raises((SettingsError, ServerUnreachable), match="Postgres|libpq"):
                client.enqueue(double, n=1)

    def test_tables_that_are_not_there(
        self, driver_name: str, settings: Settings, empty_database_url: str,
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        chosen = changed(settings, database_url=SecretStr(empty_database_url))
        with Client.from_settings(chosen) as client:
            for asked in (double, double.options(unique_key="k")):
                with pytest.raises(SchemaError, match="run `worker migrate` first"):
                    client.enqueue(asked, n=1)

    def test_a_database_that_is_serializable_makes_no_difference(
        self, driver_name: str, settings: Settings, engine: Engine, double: TaskFunction[..., int]
    ) -> None:
        with engine.begin() as connection:
            name = engine.url.database
            connection.execute(text(
                f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"
            ))  # fmt: skip
        with Client.from_settings(settings) as client:
            client.enqueue(double, n=1)
            with client._db._connected(client._db._each) as ours:
                assert ours.execute(text("SHOW transaction_isolation")).scalar() == "read committed"

    def test_through_a_proxy_that_pools_transactions(
        self, driver_name: str, database_url: str, settings: Settings,
        double: TaskFunction[..., int],
    ) -> None:  # fmt: skip
        with pgbouncer(database_url) as url:
            chosen = changed(settings, database_url=SecretStr(url))
            with Client.from_settings(chosen) as client, ThreadPoolExecutor(8) as pool:
                asked = [pool.submit(client.enqueue, double, n=n) for n in range(160)]
                found = [one.result(20) for one in asked]
                assert {one.status() for one in found} == {TaskState.QUEUED}
                client.enqueue_many(double, [{"n": n} for n in range(4_500)])
                client.enqueue(double.options(unique_key="k"), n=1)


class TestRedis:
    def test_that_is_away_costs_the_caller_nothing_and_loses_nothing(
        self, driver_name: str, settings: Settings, double: TaskFunction[..., int],
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()  # and never says a word
            url = SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}")
            with Client.from_settings(changed(settings, redis_url=url)) as client:
                began = time.monotonic()
                found = [client.enqueue(double, n=n) for n in range(20)]
                assert time.monotonic() - began < 5  # if each waited: twenty
                assert {one.status() for one in found} == {TaskState.QUEUED}
                began = time.monotonic()
        assert time.monotonic() - began < 4, "the end waits for two seconds"

    def test_that_refuses_the_connection_is_told_once(
        self, driver_name: str, settings: Settings, double: TaskFunction[..., int],
        plain: TaskFunction[..., int], caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        away = changed(settings, redis_url=SecretStr("redis://127.0.0.1:1"))
        with Client.from_settings(away) as client:
            for n in range(5):
                client.enqueue(double, n=n)
                client.flush()
            with pytest.raises(ServerUnreachable, match="Redis did not take it"):
                client.enqueue(plain, n=1)
            found = client.enqueue(double, n=1)
            assert found.cancel()
            with pytest.raises(TaskCancelled):
                found.result(10)
        told = [one for one in caplog.messages if "Redis takes no jobs" in one]
        assert len(told) == 1, caplog.messages

    def test_whose_queue_is_another_databases_is_told_of(
        self, sync_client: Client, double: TaskFunction[..., int], raw_redis: Redis,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        raw_redis.set(keys.owner("arq:queue"), '{"id": "other", "database": "theirs"}')
        sync_client.enqueue(double, n=1)
        sync_client.close()
        assert any("which is that of database 'theirs'" in one for one in caplog.messages)


@contextlib.contextmanager
def locked(engine: Engine) -> Iterator[Callable[[], None]]:
    """While the table is locked, yields what ends the backend that waits for it."""
    waits = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as lock, engine.connect() as other:
        lock.execute(text("LOCK TABLE worker.task"))

        def end() -> None:
            until = time.monotonic() + 10
            while not other.execute(waits).all():
                other.rollback()
                assert time.monotonic() < until

        yield end


def run(code: str, settings: Settings, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment_of(settings, **environment), cwd=ROOT,
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip


FORKS = """
import os, sys
import sqlalchemy
import uow.sync
client = uow.sync.TaskClient.from_settings()
print(client.enqueue("elsewhere", at="before").status().value, flush=True)
def ask(question, **values):
    with client._db.engine.connect() as connection:
        return connection.scalar(sqlalchemy.text(question), values)
client.flush()
parents, forked = ask("SELECT pg_backend_pid()"), ask("SELECT clock_timestamp()")
AGE = "SELECT backend_start > :forked FROM pg_stat_activity WHERE pid = pg_backend_pid()"
children = []
for n in range(3):
    pid = os.fork()
    if not pid:
        assert ask(AGE, forked=forked)
        for _ in range(20):
            assert client.enqueue("elsewhere", at=n).status() == "queued"
        sys.exit(0)
    children.append(pid)
for _ in range(20):
    assert client.enqueue("elsewhere", at="parent").status() == "queued"
print([os.waitpid(pid, 0)[1] for pid in children], flush=True)
# Nobody has ended what was the parent's.
assert ask("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=parents) == 1
for _ in range(20):
    assert client.enqueue("elsewhere", at="after").status() == "queued"
"""


async def test_a_client_that_was_made_and_used_before_a_fork_works_on_both_sides(
    settings: Settings, redis: RedisClient, db: Database
) -> None:
    done = await asyncio.to_thread(run, FORKS, settings)
    assert (done.stdout, done.stderr) == ("queued\n[0, 0, 0]\n", "")
    assert await redis.zcard("arq:queue") == 1 + 5 * 20, "each has pushed its own, at its end"


KILLED = """
import uow.sync
with uow.sync.TaskClient.from_settings() as client:
    client.enqueue("elsewhere", n=1)
"""

KILLED_IN_A_SESSION = """
import uow.sync
from sqlalchemy.orm import Session
with uow.sync.TaskClient.from_settings() as client, Session(client._db.engine) as session:
    uow.sync.enqueue(session, "elsewhere", n=1)
    session.commit()
"""


@pytest.mark.parametrize("code", [KILLED, KILLED_IN_A_SESSION], ids=["client", "session"])
async def test_what_a_killed_process_has_committed_and_not_pushed_the_relay_pushes(
    code: str, settings: Settings, redis: RedisClient, db: Database
) -> None:
    done = await asyncio.to_thread(run, code, settings, FAILPOINT="enqueue_committed:kill")
    assert done.returncode == -9, done.stderr
    assert await redis.zcard("arq:queue") == 0
    await db.execute_once(text("UPDATE task SET dispatch_at = now()"), {})
    assert await Relay(db, redis).run_once() == 1


def test_without_a_driver_it_says_what_to_install(settings: Settings) -> None:
    code = """
import sys
sys.modules["psycopg"] = sys.modules["psycopg2"] = None
import uow.sync
uow.sync.TaskClient.from_settings()
"""
    last = run(code, settings).stderr.splitlines()[-1]
    assert last.startswith("ImportError: uow.sync.TaskClient needs psycopg: pip install ")
    assert "psycopg2-binary" in last


def test_importing_the_package_imports_no_driver_of_it(settings: Settings) -> None:
    for imports, absent in (
        ("import uow; uow.TaskClient", {"psycopg", "psycopg2", "uow.sync"}),
        ("import uow.sync", {"psycopg", "psycopg2"}),
    ):
        code = f"import sys; {imports}; print({absent} & {{*sys.modules}})"
        assert run(code, settings).stdout == "set()\n"
