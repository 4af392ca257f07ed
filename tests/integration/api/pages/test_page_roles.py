"""Who sees what, and who is offered which act."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.api.pages.conftest import Browser, read
from tests.integration.test_interventions import put
from tests.servers import serving
from uow import Database, Settings, TaskState
from uow.api import token_file
from uow.api.app import create_app
from uow.api.pages.rendering import NAVIGATION
from uow.api.roles import Role
from uow.app import AppParts
from uow.tasks.registry import Registry


@pytest.fixture
async def let_in(
    settings: Settings, registry: Registry, tmp_path: Path
) -> AsyncIterator[dict[Role, Browser]]:
    """A browser for each role."""
    file = tmp_path / "tokens"
    tokens = {role: token_file.add(file, f"a-{role}", role) for role in Role}
    closed = settings.model_copy(update={"api_tokens_file": file})
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(create_app(closed, registry, AppParts())))
        found = {}
        for role, token in tokens.items():
            headers = {"authorization": f"Bearer {token}"}
            http = httpx.AsyncClient(base_url=served.base_url, headers=headers, timeout=10)
            found[role] = Browser(await stack.enter_async_context(http))
        yield found


async def test_a_viewer_sees_tasks_and_is_offered_no_act(
    let_in: dict[Role, Browser], db: Database
) -> None:
    id_ = await put(db, TaskState.QUEUED, user_id="u")
    viewer = let_in[Role.VIEWER]
    for path in ("/ui/tasks", f"/ui/tasks/{id_}", "/ui/users/u", "/ui/users", "/ui/bulk"):
        page = await viewer.get(path)
        assert page.status == 200
        assert page.forms.keys() & {"bulk", "on-task", "on-user"} == set()
        assert "checkbox" not in [one.get("type") for one in page.all("input")
                                  if one.get("name") == "task"]  # fmt: skip
        assert not [one for one in page.addresses if one.endswith(("/delete", "/priority"))]
    assert "Acts on it" not in (await viewer.get(f"/ui/tasks/{id_}")).text
    for path in ("/ui/audit", f"/ui/tasks/{id_}/delete"):
        refused = await viewer.get(path)
        assert (refused.status, "needs the role operator" in refused.text) == (403, True)


async def test_who_is_led_to_a_page_may_see_it(let_in: dict[Role, Browser]) -> None:
    for role, browser in let_in.items():
        page = await browser.get("/ui/tasks")
        led = {path for path in page.links.values() if path in dict(NAVIGATION)}
        assert ("/ui/audit" in led) == (role in (Role.OPERATOR, Role.ADMIN))
        assert ("/ui/tasks" in led) == (role is not Role.ENQUEUER)
        for path in led - {"/ui/"}:
            assert (await browser.get(path)).status == 200, (role, path)


async def test_an_operator_acts_and_reveals_nothing(
    let_in: dict[Role, Browser], db: Database
) -> None:
    id_ = await put(db, TaskState.QUEUED)
    operator, admin = let_in[Role.OPERATOR], let_in[Role.ADMIN]
    page = await operator.get(f"/ui/tasks/{id_}")
    assert "Reveal" not in page.forms["on-task"].buttons
    fields: dict[str, Any] = page.forms["on-task"].fields
    refused = read(await operator.post(f"/ui/tasks/{id_}/reveal", fields))
    assert (refused.status, "needs the role admin" in refused.text) == (403, True)
    fields = (await admin.get(f"/ui/tasks/{id_}")).forms["on-task"].fields
    assert (await admin.post(f"/ui/tasks/{id_}/reveal", fields)).status_code == 200
    page = await operator.led_to(await operator.press(page, "on-task", "Cancel"))
    assert "a-operator cancel" in page.text


async def test_an_enqueuer_sees_no_page(let_in: dict[Role, Browser], db: Database) -> None:
    for path in ("/ui/tasks", "/ui/users", "/ui/find?q=x"):
        assert (await let_in[Role.ENQUEUER].get(path)).status == 403
