"""`uow.sync.enqueue_with_cursor`: on a driver's own connection, without SQLAlchemy."""

import importlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from redis import Redis
from sqlalchemy import make_url

import uow.sync
from tests.conftest import Drain
from uow import (
    Database,
    EnqueueError,
    InvalidArguments,
    InvalidOptions,
    SchemaError,
    Settings,
    TaskContext,
    TaskFunction,
    TaskNotFound,
    TaskState,
    task,
)
from uow.broker import blocking
from uow.broker.redis import RedisClient
from uow.errors import ClientClosed
from uow.services.relay import Relay
from uow.tasks.registry import Registry


def conninfo(url: str) -> str:
    return str(psycopg.conninfo.make_conninfo(**_words(url)))


def _words(url: str) -> dict[str, Any]:
    parts = make_url(url)
    return {
        "host": parts.host or parts.query["host"],
        "port": parts.port or parts.query["port"],
        "user": parts.username,
        "password": parts.password or "",
        "dbname": parts.database,
    }


@pytest.fixture
def connection(driver_name: str, database_url: str) -> Iterator[Any]:
    made = importlib.import_module(driver_name).connect(conninfo(database_url))
    yield made
    made.close()


@pytest.fixture
def stored(database_url: str) -> Callable[[], int]:
    def count() -> int:
        with psycopg.connect(conninfo(database_url)) as other:
            found = other.execute("SELECT count(*) FROM worker.task").fetchone()
            assert found is not None
            return int(found[0])

    return count


@pytest.fixture
def raw_redis(settings: Settings, redis: RedisClient) -> Iterator[Redis]:
    made = blocking.connect(settings.redis_url.get_secret_value())
    yield made
    made.close()


async def test_the_row_is_in_its_transaction_and_the_relay_finds_it_at_once(
    connection: Any, double: TaskFunction[..., int], db: Database, redis: RedisClient,
    sync_client: uow.sync.TaskClient, drain: Drain,
) -> None:  # fmt: skip
    with connection.cursor() as cursor:
        found = uow.sync.enqueue_with_cursor(cursor, double, n=21)
        with pytest.raises(TaskNotFound):
            found.status()
    connection.commit()
    assert await Relay(db, redis).run_once() == 1
    await drain()
    assert found.result(10) == 42


def test_a_rollback_leaves_nothing(
    connection: Any, double: TaskFunction[..., int], stored: Callable[[], int]
) -> None:
    with connection.cursor() as cursor:
        uow.sync.enqueue_with_cursor(cursor, double, n=1)
    connection.rollback()
    assert stored() == 0


def test_who_hears_of_the_commit_may_push(
    connection: Any, double: TaskFunction[..., int], sync_client: uow.sync.TaskClient,
    raw_redis: Redis,
) -> None:  # fmt: skip
    found = uow.sync.enqueue_with_cursor(connection.cursor(), double, n=21)
    later = double.options(delay=timedelta(days=1))
    uow.sync.enqueue_with_cursor(connection.cursor(), later, n=21).push()
    connection.commit()
    found.push()
    sync_client.flush()
    assert raw_redis.zrange("arq:queue", 0, -1) == [str(found.id).encode()]


async def test_a_push_before_the_commit_starts_nothing_and_loses_nothing(
    connection: Any, double: TaskFunction[..., int], sync_client: uow.sync.TaskClient, drain: Drain
) -> None:
    found = uow.sync.enqueue_with_cursor(connection.cursor(), double, n=21)
    found.push()
    sync_client.flush()
    await drain()
    connection.commit()
    await drain()
    assert found.result(5) == 42


def test_without_a_client_a_push_is_left_to_the_relay(
    connection: Any, double: TaskFunction[..., int]
) -> None:
    found = uow.sync.enqueue_with_cursor(connection.cursor(), double, n=1)
    connection.commit()
    found.push()
    with pytest.raises(ClientClosed):
        found.status()


async def test_options_and_texts_are_what_was_given(
    connection: Any, registry: Registry, sync_client: uow.sync.TaskClient, drain: Drain
) -> None:
    @task("say", registry=registry)
    async def say(ctx: TaskContext, what: str) -> str:
        return what

    said = '100 % of it\'s \\ "quoted" :name %s {brace} ü'
    due = datetime(2001, 1, 1, tzinfo=UTC)
    asked = say.options(user_id=7, priority=3, run_at=due, unique_key="k%s:")
    found = uow.sync.enqueue_with_cursor(connection.cursor(), asked, what=said)
    connection.commit()
    view = sync_client.get(found.id)
    assert view is not None
    assert (view.args, view.user_id, view.priority, view.run_at, view.unique_key) == (
        {"what": said}, "7", 3, due, "k%s:",
    )  # fmt: skip
    await drain()
    assert found.result(10) == said


def test_a_unique_key_gives_the_task_that_is_there(
    connection: Any, double: TaskFunction[..., int], sync_client: uow.sync.TaskClient
) -> None:
    asked = double.options(unique_key="k")
    first = uow.sync.enqueue_with_cursor(connection.cursor(), asked, n=1)
    again = uow.sync.enqueue_with_cursor(connection.cursor(), asked, n=1)
    connection.commit()
    assert (first.created, again.created, first.id == again.id) == (True, False, True)
    assert again.status() is TaskState.QUEUED


def test_a_connection_that_commits_each_statement_is_refused_unless_it_has_begun(
    connection: Any, double: TaskFunction[..., int], stored: Callable[[], int]
) -> None:
    connection.autocommit = True
    with pytest.raises(InvalidOptions, match=r"commits each statement.*transaction\.atomic"):
        uow.sync.enqueue_with_cursor(connection.cursor(), double, n=1)
    connection.cursor().execute("BEGIN")
    uow.sync.enqueue_with_cursor(connection.cursor(), double, n=1)
    connection.cursor().execute("COMMIT")
    assert stored() == 1


def test_what_does_not_fit_is_refused(
    connection: Any, double: TaskFunction[..., int], registry: Registry, stored: Callable[[], int]
) -> None:
    @task("plain", durable=False, registry=registry)
    async def plain(ctx: TaskContext) -> None: ...

    cursor = connection.cursor()
    with pytest.raises(InvalidArguments):
        uow.sync.enqueue_with_cursor(cursor, double, n="many")
    with pytest.raises(InvalidOptions, match="durable=False"):
        uow.sync.enqueue_with_cursor(cursor, plain)
    with pytest.raises(InvalidOptions, match="a cursor has one connection"):
        uow.sync.enqueue_with_cursor(cursor, double.options(bind=Database), n=1)
    with pytest.raises(EnqueueError, match=r"is no cursor.*connection\.cursor\(\)"):
        uow.sync.enqueue_with_cursor(connection, double, n=1)
    connection.commit()
    assert stored() == 0


def test_tables_that_are_not_there_and_a_right_that_is_missing(
    connection: Any, driver_name: str, empty_database_url: str, double: TaskFunction[..., int]
) -> None:
    cursor = connection.cursor()
    cursor.execute("CREATE ROLE somebody_else; SET LOCAL ROLE somebody_else")
    with pytest.raises(SchemaError, match="GRANT USAGE ON SCHEMA") as caught:
        uow.sync.enqueue_with_cursor(cursor, double, n=1)
    assert "\n" not in str(caught.value)
    empty = importlib.import_module(driver_name).connect(conninfo(empty_database_url))
    with pytest.raises(SchemaError, match="run `worker migrate` first"):
        uow.sync.enqueue_with_cursor(empty.cursor(), double, n=1)
    empty.close()
