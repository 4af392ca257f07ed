"""The how-to pages: their files written, their commands typed, their SQL run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.reader import Reader, execute
from tests.databases import Databases
from tests.processes import environment_of
from uow import Settings

pytestmark = pytest.mark.timeout(180)  # up to ten commands, each of which imports everything anew


@pytest.fixture
def effects() -> None:
    """The pages have tables of their own."""


@pytest.fixture
def reader(tmp_path: Path, settings: Settings) -> Iterator[Reader]:
    reading = Reader(tmp_path, environment_of(settings))
    yield reading
    reading.close()


def modules(reader: Reader, *names: str) -> Reader:
    reader.environment = {**reader.environment, "WORKER_TASK_MODULES": ",".join(names)}
    return reader


def test_one_off_scripts(reader: Reader) -> None:
    modules(reader, "app.tasks").follow("how-to/scripts.md")


def test_sql_without_our_client(reader: Reader) -> None:
    modules(reader, "app.tasks").follow("how-to/plain-sql.md")
    settled, errors = reader.rows[-2:]
    assert sorted(str(result) for _, _, result, _ in settled) == [
        "order 1 of None is confirmed",
        "order 2 of ada is confirmed",
        "order 4 of bob is confirmed",
    ]
    assert errors == []


def test_deploys_that_change_arguments(reader: Reader) -> None:
    modules(reader, "app.tasks").follow("how-to/changing-arguments.md")
    both_understood, old_ones_left, too_soon = reader.rows
    assert both_understood == [("hello to ada@example.org",), ("goodbye to bob@example.org",)]
    assert old_ones_left == [(0,)]
    assert [(state, tries) for state, tries in too_soon] == [("queued", 0)]


@pytest.fixture
def other_database_url(databases: Databases) -> Iterator[str]:
    with databases.one() as url:
        yield url


def test_several_databases(reader: Reader, other_database_url: str) -> None:
    reader.environment = {
        **reader.environment,
        "ORDERS_URL": reader.environment["WORKER_DATABASE_URL"],
        "STOCK_URL": other_database_url,
    }
    modules(reader, "app.tasks").follow("how-to/several-databases.md")
    there = {**reader.environment, "WORKER_DATABASE_URL": other_database_url}
    asked_twice = """
import asyncio, types
from app.handing_on import reserve
ctx = {"task": types.SimpleNamespace(idempotency_key="the same")}
async def main():
    await reserve(ctx, "tea")
    await reserve(ctx, "tea")
asyncio.run(main())
"""
    reader.write("twice.py", asked_twice)
    reader.terminals.popitem()[1].kill9()  # the stock's worker: the task stays unsettled
    reader.run("python twice.py", "")
    found = asyncio.run(execute(there, "SELECT count(*) FROM worker.task WHERE settled_at IS NULL"))
    assert found == [(1,)]
