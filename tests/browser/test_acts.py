"""Logging in and acting, by clicking, with and without scripts."""

from pathlib import Path

import httpx
import pytest

from tests.browser.chromium import Chromium
from tests.browser.conftest import OpenTab
from tests.servers import serving
from uow import Settings, TaskClient
from uow.api import token_file
from uow.api.app import create_app
from uow.api.roles import Role
from uow.app import AppParts
from uow.tasks.registry import Registry

with_and_without_scripts = pytest.mark.parametrize("scripts", [True, False])


@with_and_without_scripts
async def test_a_task_is_cancelled_and_retried(
    open_tab: OpenTab, site: httpx.AsyncClient, client: TaskClient, scripts: bool
) -> None:
    handle = await client.enqueue("parcels.send", order=1)
    tab = await open_tab(java_script_enabled=scripts)
    await tab.go(f"/ui/tasks/{handle.id}")
    await tab.do(lambda page: page.fill("[name=reason]", "asked twice"))
    await tab.do(lambda page: page.click("button:text-is('Cancel')"))
    await tab.see("main .state", "cancelled")
    await tab.do(lambda page: page.click("button:text-is('Retry')"))
    await tab.see("main .state", "queued")
    audit = (await site.get("/api/audit")).text
    assert "asked twice" in audit
    assert tab.troubles == []


@with_and_without_scripts
async def test_the_selected_are_cancelled(
    open_tab: OpenTab, client: TaskClient, scripts: bool
) -> None:
    one, other = [await client.enqueue("parcels.send", order=number) for number in range(2)]
    tab = await open_tab(java_script_enabled=scripts)
    await tab.go("/ui/tasks")
    await tab.do(lambda page: page.check(f"#task-{one.id} input[type=checkbox]"))
    await tab.do(lambda page: page.click("button:text-is('To the selected')"))
    await tab.go("/ui/tasks")
    await tab.see(f"#task-{one.id}", "cancelled")
    assert "queued" in await tab.text(f"#task-{other.id}")


async def test_a_viewer_logs_in_sees_and_has_no_buttons(
    chromium: Chromium, settings: Settings, registry: Registry, client: TaskClient, tmp_path: Path
) -> None:
    token = token_file.add(tmp_path / "tokens", "ann", Role.VIEWER)
    update = {"api_tokens_file": tmp_path / "tokens"}
    handle = await client.enqueue("parcels.send", order=1)
    async with serving(create_app(settings.model_copy(update=update), registry, AppParts())) as api:
        tab = await chromium.open(str(api.base_url).rstrip("/"))
        await tab.go(f"/ui/tasks/{handle.id}")
        await tab.do(lambda page: page.fill("#token", "wrong"))
        await tab.do(lambda page: page.click("button:text-is('Log in')"))
        await tab.see("[role=alert]", "not known")
        tab.troubles.clear()  # the browser notes the 403
        await tab.do(lambda page: page.fill("#token", token))
        await tab.do(lambda page: page.click("button:text-is('Log in')"))
        await tab.see("main .state", "queued")
        await tab.see("#live", "Live")
        assert await tab.do(lambda page: page.locator("main button").count()) == 0
        await client.cancel(handle.id)
        await tab.see("main .state", "cancelled")
        await tab.do(lambda page: page.click("button:text-is('Log out')"))
        await tab.see("h1", "Log in")
        assert tab.troubles == []
        await chromium.do(tab.context.close)
