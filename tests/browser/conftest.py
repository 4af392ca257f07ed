"""Pages in a real browser, behind real servers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
from fastapi import FastAPI

from tests.browser.chromium import Chromium, Tab, executable
from tests.servers import serving
from uow import Settings, TaskContext, task
from uow.api.app import create_app
from uow.app import AppParts
from uow.tasks.registry import Registry

OpenTab = Callable[..., Awaitable[Tab]]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One for all tests of a process."""
    path = executable()
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    browser = Chromium(path)
    yield browser
    browser.close()


@pytest.fixture
def registry(registry: Registry) -> Registry:
    @task("parcels.send", registry=registry)
    async def confirm(ctx: TaskContext, order: int, note: str = "") -> str:
        return note or f"order {order} is confirmed"

    @task("parcels.weigh", max_tries=1, registry=registry)
    async def charge(ctx: TaskContext, order: int, why: str) -> None:
        raise RuntimeError(why)

    return registry


@pytest.fixture
def app(settings: Settings, registry: Registry) -> FastAPI:
    return create_app(settings, registry, AppParts())


@pytest.fixture
async def site(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The API with its pages, served."""
    async with serving(app) as http:
        yield http


@pytest.fixture
async def open_tab(chromium: Chromium, site: httpx.AsyncClient) -> AsyncIterator[OpenTab]:
    """Opens tabs, with options of a browser's context; a test without other wants has none left."""
    async with AsyncExitStack() as stack:

        async def open_one(**options: object) -> Tab:
            tab = await chromium.open(str(site.base_url).rstrip("/"), **options)
            stack.push_async_callback(chromium.do, tab.context.close)
            return tab

        yield open_one


@pytest.fixture
async def tab(open_tab: OpenTab) -> Tab:
    """One as most people have it."""
    return await open_tab(viewport={"width": 1280, "height": 800})
