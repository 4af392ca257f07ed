"""Chromium, for tests of pages."""

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Playwright,
    Request,
    sync_playwright,
)

T = TypeVar("T")

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

DEADLINE_MS = 15_000


def executable() -> str | None:
    """Where it is; None: it is not installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Tab:
    """A page in a context of its own.

    Attributes:
        troubles: What a browser complains of: errors, and what our policy forbids.
    """

    chromium: "Chromium"
    context: BrowserContext
    page: Page
    base: str
    troubles: list[str] = field(default_factory=list)

    def hear(self, said: ConsoleMessage) -> None:
        """What the browser says to developers: errors, and what the page's policy has forbidden."""
        if said.type in ("error", "warning"):
            self.troubles.append(said.text)

    def refuse(self, shown: Dialog) -> None:
        """Pages ask nothing by a script, and somebody's markup least of all."""
        self.troubles.append(f"a dialog: {shown.message}")
        shown.dismiss()

    def watch_request(self, asked: Request) -> None:
        """All that a page loads is ours."""
        if urlsplit(asked.url).netloc != urlsplit(self.base).netloc:
            self.troubles.append(f"asked for {asked.url}")

    async def do(self, act: Callable[[Page], T]) -> T:
        """What comes of it; meanwhile the test's loop goes on, and serves the page."""
        return await self.chromium.do(lambda: act(self.page))

    async def go(self, path: str) -> int:
        """Load a page; returns the status."""
        response = await self.do(lambda page: page.goto(self.base + path))
        assert response is not None
        return response.status

    async def see(self, selector: str, text: str) -> None:
        """Return when there is such an element with this text in it."""
        await self.do(
            lambda page: (
                page.locator(selector).filter(has_text=text).first.wait_for(state="attached")
            )
        )

    async def text(self, selector: str) -> str:
        """What an element says."""
        return await self.do(lambda page: page.inner_text(selector))

    async def ask(self, script: str, argument: Any = None) -> Any:
        """What a line of JavaScript says."""
        return await self.do(lambda page: page.evaluate(script, argument))

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.do(lambda page, key=key: page.keyboard.press(key))  # type: ignore[misc]


class Chromium:
    """The browser of a process. It lives in a thread: Playwright's calls wait.

    Args:
        path: The program.
    """

    def __init__(self, path: str) -> None:
        self._thread = ThreadPoolExecutor(1, "chromium")
        self._playwright, self._browser = self._thread.submit(self._launch, path).result()

    @staticmethod
    def _launch(path: str) -> tuple[Playwright, Browser]:
        playwright = sync_playwright().start()
        return playwright, playwright.chromium.launch(executable_path=path, args=ARGUMENTS)

    async def do(self, act: Callable[[], T]) -> T:
        """Call something in the browser's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    async def open(self, base: str, **options: Any) -> Tab:
        """A new tab for what is served at `base`."""
        return await self.do(lambda: self._open(base, options))

    def _open(self, base: str, options: dict[str, Any]) -> Tab:
        context = self._browser.new_context(reduced_motion="reduce", **options)
        context.set_default_timeout(DEADLINE_MS)
        page = context.new_page()
        tab = Tab(self, context, page, base)
        page.on("console", tab.hear)
        page.on("pageerror", lambda error: tab.troubles.append(str(error)))
        page.on("dialog", tab.refuse)
        page.on("request", tab.watch_request)
        return tab

    def close(self) -> None:
        """End it."""
        self._thread.submit(self._browser.close).result()
        self._thread.submit(self._playwright.stop).result()
        self._thread.shutdown()
