"""Every page there is, as people have it: with and without scripts, light and dark, on a phone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.routing import APIRoute

from tests.browser.chromium import Tab
from tests.browser.conftest import OpenTab
from tests.browser.hostile import HOSTILE, enqueue_hostile, put_everywhere
from uow import Database, TaskClient
from uow.api.pages.site import PAGES

DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

KINDS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESK, "color_scheme": "light"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light"},
    "without scripts": {"viewport": DESK, "java_script_enabled": False},
}

TAGS = ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]

AXE = {
    "phone": {"type": "tag", "values": TAGS},
    "dark": {"type": "rule", "values": ["color-contrast"]},  # the rest is as on the phone
}
"""Which rules a page is looked at with; a desk's light colours are those of the phone."""

TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

SAME_IDS = """() => {
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  return ids.filter((id, at) => ids.indexOf(id) !== at);
}"""


def page_paths() -> list[str]:
    """Of all pages: what can be asked for, files apart."""
    return sorted(
        {
            route.path
            for router in PAGES
            for route in router.routes
            if isinstance(route, APIRoute) and "GET" in (route.methods or ())
            if not route.path.startswith("/ui/static/")
        }
    )


@dataclass(frozen=True)
class Examples:
    """What to put into the paths.

    Attributes:
        of: Values by the name of the parameter.
    """

    of: dict[str, str]

    def path(self, template: str) -> str:
        """A path of a page; each parameter of it needs an example here."""
        return "/".join(map(self._part, template.split("/")))

    def _part(self, part: str) -> str:
        if not part.startswith("{"):
            return part
        name = part.strip("{}").partition(":")[0]
        assert name in self.of, f"the pages have a parameter without an example here: {name}"
        return quote(self.of[name], safe="")


@pytest.fixture
async def examples(site: httpx.AsyncClient, client: TaskClient, db: Database) -> Examples:
    """Of everything something, and of each with markup in it."""
    for number in range(3):
        await client.enqueue("parcels.send", order=number)
    cancelled = await client.enqueue("parcels.weigh", order=1, why="")
    await client.cancel(cancelled.id)
    bulk_id = await put_everywhere(site, client, db)
    task_id = await enqueue_hostile(client, db)
    return Examples(
        {
            "task_id": str(task_id), "bulk_id": str(bulk_id), "act": "priority",
            "user_id": HOSTILE, "user": HOSTILE, "queue": HOSTILE, "name": HOSTILE, "app": HOSTILE,
            "schedule": HOSTILE, "worker": HOSTILE,
        }
    )  # fmt: skip


async def faults_of(tab: Tab, path: str) -> AsyncIterator[str]:
    """What is wrong with a page."""
    tab.troubles.clear()
    status = await tab.go(path)
    if status != 200:
        yield f"answered with {status}"
    title = await tab.do(lambda page: page.title())
    if not title.endswith("· worker"):
        yield f"is called {title}"
    wide = await tab.ask(TOO_WIDE)
    if wide > 0:
        yield f"is {wide} px too wide"
    for twice in await tab.ask(SAME_IDS):
        yield f"has the id {twice!r} twice"


async def axe_of(tab: Tab, kind: str = "phone") -> list[str]:
    """What axe finds."""
    options = {"resultTypes": ["violations"], "runOnly": AXE[kind]}
    found = await tab.do(lambda page: Axe().run(page, options=options))
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found.response["violations"]
    ]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_page_is_whole(open_tab: OpenTab, examples: Examples, kind: str) -> None:
    tab = await open_tab(**KINDS[kind])
    faults: dict[str, list[str]] = {}
    for template in page_paths():
        found = [fault async for fault in faults_of(tab, examples.path(template))]
        if kind in AXE:
            found += await axe_of(tab, kind)
        if all_of_it := [*found, *tab.troubles]:
            faults[template] = all_of_it
    assert faults == {}


async def test_pages_without_anything_to_show_are_whole(open_tab: OpenTab) -> None:
    tab = await open_tab(**KINDS["phone"])
    faults: dict[str, list[str]] = {}
    for path in page_paths():
        if "{" not in path:
            found = [fault async for fault in faults_of(tab, path)]
            if all_of_it := [*found, *await axe_of(tab), *tab.troubles]:
                faults[path] = all_of_it
    assert faults == {}


async def test_markup_in_a_task_that_comes_while_one_looks_runs_no_script(
    tab: Tab, client: TaskClient, db: Database
) -> None:
    await tab.go("/ui/tasks")
    await tab.see("#live", "Live")
    task_id = await enqueue_hostile(client, db)
    await tab.see(f"#task-{task_id}", "<script>")
    assert await tab.do(lambda page: page.title()) == "Tasks · worker"
    assert (
        await tab.ask("document.querySelectorAll('main :is(script, img, svg[onload])').length") == 0
    )
    assert tab.troubles == []


async def test_what_is_wrong_is_found(open_tab: OpenTab) -> None:
    """The tests above see what they are for."""
    tab = await open_tab(**KINDS["phone"])
    await tab.go("/ui/tasks")
    await tab.ask("""() => {
        document.body.insertAdjacentHTML("beforeend", "<p id=find>wide<img src='/x'>");
        document.body.lastElementChild.style.width = "2000px";
        const inline = document.createElement("script");
        inline.src = "//127.0.0.1:9/x.js";
        document.body.append(inline);
        console.error("seen");
    }""")
    assert await tab.ask(TOO_WIDE) > 0
    assert await tab.ask(SAME_IDS) == ["find"]
    assert any(fault.startswith("image-alt") for fault in await axe_of(tab))
    assert "seen" in tab.troubles
    assert any("127.0.0.1:9" in trouble for trouble in tab.troubles)
