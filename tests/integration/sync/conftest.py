"""A service without asyncio, over each of the drivers."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine

import uow.sync
from uow import Settings, TaskContext, TaskFunction, task
from uow.sync import driver
from uow.tasks.registry import Registry
from uow.urls.libpq import LibpqAddress


@pytest.fixture(params=driver.DRIVERS)
def driver_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr(driver, "DRIVERS", (name,))
    return name


@pytest.fixture
def engine(driver_name: str, database_url: str) -> Iterator[Engine]:
    """The service's own."""
    made = create_engine(LibpqAddress.read(database_url, driver_name).url)
    yield made
    made.dispose()


@pytest.fixture
def sync_client(driver_name: str, settings: Settings) -> Iterator[uow.sync.TaskClient]:
    with uow.sync.TaskClient.from_settings(settings) as open_client:
        yield open_client


@pytest.fixture
def double(registry: Registry) -> TaskFunction[..., int]:
    @task("double", registry=registry)
    async def double(ctx: TaskContext, n: int) -> int:
        return 2 * n

    return double
