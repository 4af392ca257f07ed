"""A page shows what happens while somebody looks at it, and leaves alone what they do with it."""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

import uow
from tests.browser.chromium import Chromium, Tab
from tests.servers import serving
from uow import Settings, TaskClient
from uow.api.app import create_app
from uow.app import AppParts
from uow.tasks.registry import Registry

SECONDS = 15

WHEN_SHOWN = """([id, text]) => new Promise((tell) => {
  const look = () => document.getElementById("task-" + id)?.innerText.includes(text)
    ? tell(Date.now()) : requestAnimationFrame(look);
  look();
})"""
"""When a task's row says this, in ms."""


def row(task_id: UUID) -> str:
    return f"#task-{task_id}"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


async def looked_at(app: FastAPI, many: int) -> None:
    """Return when so many streams are open."""
    await until(lambda: len(getattr(app.state, "uow_watching", ())) == many)


async def test_the_end_of_a_task_is_on_the_page_soon_after_its_commit(
    tab: Tab, client: TaskClient, app: FastAPI
) -> None:
    handles = [await client.enqueue("parcels.send", order=number) for number in range(5)]
    await tab.go("/ui/tasks")
    await tab.see("#live", "Live")
    took = []
    for handle in handles:
        await asyncio.sleep(0.4)  # a quiet time, so that no pause of the page is in it
        shown = asyncio.create_task(tab.ask(WHEN_SHOWN, [str(handle.id), "cancelled"]))
        await asyncio.sleep(0.05)  # for the browser to look
        began = time.time() * 1000
        await client.cancel(handle.id)
        took.append(await shown - began)
    print(f"from the commit to the page: {sorted(round(ms) for ms in took)} ms")
    assert sorted(took)[0] < 2000
    assert tab.troubles == []


async def test_what_a_worker_does_is_seen_and_marked(
    tab: Tab, client: TaskClient, settings: Settings, registry: Registry
) -> None:
    await tab.go("/ui/tasks")
    await tab.see("#live", "Live")
    async with uow.running(settings, registry=registry):
        first = await client.enqueue("parcels.send", order=1)
        marked = tab.do(lambda page: page.wait_for_selector(f"{row(first.id)}[data-changed]"))
        await tab.see(row(first.id), "succeeded")
        await marked
    await tab.do(lambda page: page.wait_for_selector(f"{row(first.id)}:not([data-changed])"))
    assert tab.troubles == []


@pytest.mark.parametrize("what", ["typing", "selecting"])
async def test_it_waits_while_somebody_types_or_selects(
    tab: Tab, client: TaskClient, what: str
) -> None:
    handle = await client.enqueue("parcels.send", order=1)
    await tab.go("/ui/tasks")
    await tab.see("#live", "Live")
    if what == "typing":
        await tab.press("/", "a", "j", "?")
    else:
        await tab.ask("getSelection().selectAllChildren(document.querySelector('h1'))")
    await client.cancel(handle.id)
    await tab.see("#live", "Paused while")
    assert "queued" in await tab.text(row(handle.id))
    if what == "typing":
        assert await tab.do(lambda page: page.input_value("#find")) == "aj?"
        await tab.ask("document.activeElement.blur()")
    else:
        await tab.ask("getSelection().removeAllRanges()")
    await tab.see(row(handle.id), "cancelled")
    assert await tab.text("#live") == "Live"
    assert tab.troubles == []


HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def test_a_hidden_tab_asks_for_nothing_and_catches_up_when_it_is_seen(
    tab: Tab, client: TaskClient, app: FastAPI
) -> None:
    handle = await client.enqueue("parcels.send", order=1)
    await tab.go("/ui/tasks")
    await looked_at(app, 1)
    await tab.ask(HIDE, True)
    await looked_at(app, 0)
    await client.cancel(handle.id)
    await tab.ask(HIDE, False)
    await tab.see(row(handle.id), "cancelled")


async def test_it_connects_again_when_the_api_is_back(
    chromium: Chromium, settings: Settings, registry: Registry, client: TaskClient
) -> None:
    handle = await client.enqueue("parcels.send", order=1)
    first = create_app(settings, registry, AppParts())
    async with serving(first) as http:
        base = str(http.base_url).rstrip("/")
        tab = await chromium.open(base)
        await tab.go("/ui/tasks")
        await tab.see("#live", "Live")
        first.state.uow_streams.close()  # as SIGTERM does
    await tab.see("#live", "Not connected")
    await client.cancel(handle.id)
    port = httpx.URL(base).port
    async with serving(create_app(settings, registry, AppParts()), port or 0):
        await tab.see(row(handle.id), "cancelled")
        assert await tab.text("#live") == "Live"
        await chromium.do(tab.context.close)


async def test_whoever_may_not_look_any_more_is_told(
    tab: Tab, client: TaskClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tab.go("/ui/tasks")
    await tab.see("#live", "Live")
    (page,) = app.state.uow_watching._pages.values()
    page._end_all(401)
    await tab.see("#live", "load the page again")
    await looked_at(app, 0)
